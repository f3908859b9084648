"""Tasks of users under ids of their own, for Gymnasium to make."""

from dataclasses import dataclass

import gymnasium
import pytest

import diffenvs
from diffenvs import TASKS, register_task
from diffenvs.registration import make_task
from diffenvs.tasks.hopper import Hopper

ID = "tests/Registered-v0"
HOPPER = "diffenvs.tasks.hopper:Hopper"


@pytest.fixture(autouse=True)
def registries():
    """Leave the registries of other tests alone."""
    known = [(registry, dict(registry)) for registry in (TASKS, gymnasium.registry)]
    yield
    for registry, entries in known:
        registry.clear()
        registry.update(entries)


@dataclass(frozen=True, kw_only=True)
class Low(Hopper):
    """A Hopper with a constant of its own."""

    ceiling: float = 1.0


@pytest.mark.parametrize(("task", "steps"), [(Low, 7), (HOPPER, None)])
def test_a_registered_task_is_made_by_gymnasium(task, steps):
    register_task(ID, task, max_episode_steps=steps)
    many, one = gymnasium.make_vec(ID, num_envs=2, action_cost=0.2), gymnasium.make(ID, action_cost=0.2)
    assert many.task == one.unwrapped.task == make_task(ID, {"action_cost": 0.2})
    assert type(many.task).__name__ == ("Low" if task is Low else "Hopper")
    assert many.max_episode_steps == steps
    assert one.spec.max_episode_steps == steps


NO_ID, NO_CLASS = "`id` must be 'namespace/Name-v0'. Got", "`task` must be a class derived from AbstractTask, .* Got"
NO_PLACE, NO_STEPS = "`task` must be a class of a task or its place", "`max_episode_steps` must be a positive integer"
BAD = {
    "id with blanks": ({"id": "bad id v0"}, ValueError, f"{NO_ID} 'bad id v0'"),
    "no namespace": ({"id": "Registered-v0"}, ValueError, f"{NO_ID} 'Registered-v0'"),
    "no version": ({"id": "tests/Registered"}, ValueError, f"{NO_ID} 'tests/Registered'"),
    "no string": ({"id": 3}, ValueError, f"{NO_ID} 3"),
    "another class": ({"task": dict}, TypeError, f"{NO_CLASS} <class 'dict'>"),
    "instance": ({"task": Low(ceiling=0.3)}, TypeError, f"{NO_CLASS} Low.*ceiling=0.3"),
    "no place": ({"task": "foo"}, ValueError, f"{NO_PLACE}, 'module:Class'. Got 'foo'"),
    "path": ({"task": "a/b.py:C"}, ValueError, NO_PLACE),
    "zero steps": ({"max_episode_steps": 0}, ValueError, f"{NO_STEPS}, or None. Got 0"),
    "float steps": ({"max_episode_steps": 9.0}, ValueError, f"{NO_STEPS}, or None. Got 9.0"),
    "bool steps": ({"max_episode_steps": True}, ValueError, f"{NO_STEPS}, or None. Got True"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_registered_is_refused_and_registers_nothing(case):
    given, error, message = BAD[case]
    before = dict(TASKS), dict(gymnasium.registry)
    with pytest.raises(error, match=message):
        register_task(**{"id": ID, "task": Low} | given)
    assert (TASKS, gymnasium.registry) == before


def test_what_gymnasium_refuses_is_not_registered():
    gymnasium.register("tests/Registered", entry_point="nowhere:Nothing")
    with pytest.raises(gymnasium.error.RegistrationError, match="unversioned"):
        register_task(ID, Low)
    assert ID not in TASKS


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("nowhere_at_all:Low", ModuleNotFoundError, "nowhere_at_all"),
        ("diffenvs.tasks.hopper:Hoper", ImportError, "'tests/Registered-v0' .* has no 'Hoper'"),
        ("collections:Counter", TypeError, "what 'tests/Registered-v0' is registered as must be a class .* Got <class"),
    ],
)
def test_a_place_that_holds_no_task_is_named_when_it_is_used(place, error, message):
    register_task(ID, place)
    with pytest.raises(error, match=message):
        make_task(ID, {})


def with_field(name):
    return dataclass(frozen=True, kw_only=True)(
        type("Clashing", (Hopper,), {"__annotations__": {name: float}, name: 1.0})
    )


@pytest.mark.parametrize("name", ["height", "dtype", "num_envs", "task", "wrappers", "max_episode_steps"])
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_fields_whose_names_mean_something_else_are_refused(make, name):
    register_task(ID, with_field(name))
    with pytest.raises(TypeError, match=f"fields of Clashing could not be set, .*: {name}. Rename"):
        make(ID)


def test_a_task_that_is_made_may_have_any_fields():
    assert diffenvs.DiffVectorEnv(with_field("height")(height=2.0)).task.height == 2.0


def test_what_is_no_task_is_refused():
    for wrong in (Low, None, gymnasium):
        with pytest.raises(TypeError, match="task must be an id or a task that is made"):
            make_task(wrong, {})
