"""Model parameters that are given to environments, and gradients to them."""

import gc
import re
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from contacts import contacts
from environments import make, random_actions
from gradients import STATE, gradient_errors, parameters
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from simulators import simulator

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Joint, JointType, Link
from diffenvs.parameter_table import PARAMETERS, table
from diffenvs.parameters import ARRAYS
from diffenvs.tasks.hopper import Hopper

HOPPER, ANT, HUMANOID, ANYMAL = (f"diffenvs/{robot}-v0" for robot in ("Hopper", "Ant", "Humanoid", "Anymal"))
BODY_INERTIA = torch.tensor([0.3, 0.35, 0.4, 0.01, -0.02, 0.03], dtype=torch.float64)
LEARNT = [name for name in PARAMETERS if name not in ARRAYS["joint"]]
"""Parameters without entries that must not change."""


def sliding(env, alone):
    """Inputs of environments that slide on the ground, each with parameters of its own."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64)

    env.reset(seed=0)
    n, state = env.num_envs, env.get_state()
    model = {name: value for name, value in env.parameters.items() if name in LEARNT}
    model["mass"] = model["mass"].clamp(min=1.0)  # also of links that have none
    model["inertia"] = BODY_INERTIA.expand_as(model["inertia"])
    given = {name: value * (1 + 0.05 * normal(n, *value.shape[1:])) for name, value in model.items()}
    action = 0.3 * normal(n, 4, env.model.nu)
    trace = alone.trace(state["q"], state["qd"], action[:, 0])
    state["q"][:, 1] -= contacts(env.model, trace, alone.parameters).depth[:, 0].amin(1) + 0.005
    state["qd"][:, 3 if env.model.nq > env.model.nv else 0] += 2.0
    trace = alone.trace(state["q"], state["qd"], action[:, 0], given)
    assert contacts(env.model, trace, alone.parameters | given).sliding.any(-1).any(-1).all()
    return {"q": state["q"], "qd": state["qd"], "action": action, **given}


@pytest.mark.parametrize("id", [HOPPER, ANT, HUMANOID, ANYMAL])
def test_gradients_of_rewards_and_observations_equal_central_differences_through_contact(id):
    groups = len(LEARNT) + len(STATE)
    env = DiffVectorEnv(id, 3 * groups, dtype="float64", max_episode_steps=None, early_termination=False)
    alone = simulator(env.model, env.num_envs)
    inputs = sliding(env, alone)

    def window(simulator, inputs):
        env.set_parameters(parameters(inputs))
        env.set_state({"q": inputs["q"], "qd": inputs["qd"]})
        results = [env.step_grad(action) for action in inputs["action"].unbind(1)]
        rewards = torch.stack([result[1] for result in results], dim=-1)
        return torch.cat([rewards, results[-1][0]], dim=-1)

    gradient_errors(alone, inputs, rollout=window).check()


def test_shared_parameters_get_the_sum_of_the_gradients_of_their_environments():
    env = make(ANT, randomize={"friction": (0.5, 1.0), "mass": (0.8, 1.2)}, dtype="float64", early_termination=False)
    env.reset(seed=0)
    state, actions, model = env.get_state(), random_actions(env, 40), make(ANT, dtype="float64").parameters

    def gradients(rows):
        given = {name: model[name].repeat(rows, *[1] * (model[name].ndim - 1)) for name in ("friction", "mass", "com")}
        given = {name: value.requires_grad_() for name, value in given.items()}
        env.set_parameters(given)
        env.set_state(state)
        observation = [env.step_grad(action)[0] for action in actions][-1]
        return torch.autograd.grad(observation.sum(), list(given.values()))

    for shared, own in zip(gradients(1), gradients(3), strict=True):
        assert own.any()
        torch.testing.assert_close(shared, own.sum(0, keepdim=True), rtol=1e-9, atol=1e-12)


def test_gradients_of_a_window_with_two_episodes_are_those_of_both():
    env = make(ANT, dtype="float64", max_episode_steps=2, randomize={"mass": (0.5, 2.0)})
    env.reset(seed=0)
    state, actions, gear = env.get_state(), random_actions(env, 4), make(ANT, dtype="float64").parameters["gear"]

    def rewards(gear):
        env.set_parameters({"gear": gear})
        env.set_state(state)
        return torch.stack([env.step_grad(action)[1] for action in actions])

    # Episodes begin in the air, so nothing has a kink. The first reward of each is that of its first state.
    (jacobian,) = torch.autograd.functional.jacobian(rewards, (gear,))
    assert jacobian.flatten(2).any(-1).tolist() == [[False] * 3, [True] * 3] * 2
    assert torch.autograd.gradcheck(rewards, (gear.requires_grad_(),), eps=1e-3, atol=1e-9, rtol=1e-6)


def test_steps_of_an_optimiser_are_seen_without_giving_the_parameter_again():
    env, fresh = make(ANT), make(ANT)
    env.reset(seed=0)
    gravity = torch.nn.Parameter(env.parameters["gravity"])
    optimizer = torch.optim.SGD([gravity], lr=0.1)
    env.set_parameters({"gravity": gravity})
    action = random_actions(env, 1)[0]
    for _ in range(3):
        fresh.set_state(env.get_state())
        fresh.set_parameters({"gravity": gravity.detach()})
        observation, *_ = env.step_grad(action)
        assert torch.equal(observation, fresh.step(action)[0])
        optimizer.zero_grad()
        observation[:, 0].sum().backward()
        assert gravity.grad[0, 1] > 0
        optimizer.step()
        env.detach()
    env.step(action)
    assert env.parameters["gravity"].requires_grad


def test_parameters_without_grad_are_copied_and_those_left_out_are_the_models_again():
    env = make()
    model = env.parameters
    friction = 0.5 * model["friction"]
    env.set_parameters({"friction": friction, "mass": 2.0 * model["mass"]})
    friction.zero_()
    assert torch.equal(env.parameters["friction"], 0.5 * model["friction"])
    env.set_parameters({"gear": 2.0 * model["gear"].repeat(3, 1)})
    for name, value in env.parameters.items():
        assert torch.equal(value, 2.0 * model[name].repeat(3, 1) if name == "gear" else model[name])
    env.set_parameters({})
    assert all(torch.equal(value, model[name]) for name, value in env.parameters.items())


def test_parameters_are_shown_as_copies_that_cannot_be_replaced():
    env = make()
    env.parameters["mass"].zero_()
    assert env.parameters["mass"].any()
    with pytest.raises(TypeError, match="does not support item assignment"):
        env.parameters["mass"] = torch.ones(1, 4)
    randomised = make(randomize={"mass": (0.5, 1.0)})
    with pytest.raises(ResetNeeded, match="call reset before anything else"):
        randomised.parameters  # noqa: B018


def test_parameters_change_steps_but_neither_episodes_nor_states_nor_earlier_gradients():
    env = make(ANT)
    env.reset(seed=0)
    actions = random_actions(env, 2).requires_grad_()
    expected, *_ = env.step_grad(actions[0])
    (before,) = torch.autograd.grad(expected.sum(), actions, retain_graph=True)
    state = env.get_state()
    env.set_parameters({"mass": 2.0 * env.parameters["mass"]})
    assert all(torch.equal(value, state[name]) for name, value in env.get_state().items())
    assert env.step_grad(actions[1])[0].requires_grad
    (after,) = torch.autograd.grad(expected.sum(), actions)
    assert torch.equal(before, after)
    other = make(ANT)
    other.set_state(state)
    assert torch.equal(other.parameters["mass"], make(ANT).parameters["mass"]), "a state holds no parameters"


def test_closing_releases_the_parameters():
    env = make()
    friction = env.parameters["friction"].requires_grad_()
    env.set_parameters({"friction": friction})
    alive = weakref.ref(friction)
    env.close()
    del friction
    gc.collect()
    assert alive() is None
    for use in (lambda: env.parameters, lambda: env.set_parameters({})):
        with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
            use()


def changed(name, index, value):
    def make_given(model):
        given = model[name].clone()
        given[index] = value
        return {name: given}

    return make_given


NEGATIVE = [name for name, meaning in PARAMETERS.items() if not meaning.signed]
BAD = {
    **{
        f"negative {name}": (changed(name, (0, -1), -1.0), f"'{name}' must not be negative. Got -1")
        for name in NEGATIVE
    },
    "unknown": (lambda model: {"colour": model["mass"]}, "there is no parameter 'colour'. There are mass, com"),
    "shape": (lambda model: {"mass": model["mass"][:, 1:]}, r"'mass' must be \(3, 9\) or \(1, 9\) torch.float32"),
    "dtype": (lambda model: {"mass": model["mass"].double()}, r"'mass' must be .* Got \(1, 9\) torch.float64"),
    "nan": (changed("friction", (0, 2), torch.nan), r"'friction' must be finite. Got nan at \(0, 2\)"),
    "infinite": (changed("gravity", (0, 1), -torch.inf), r"'gravity' must be finite. Got -inf at \(0, 1\)"),
    "limit nan": (changed("lower", (0, 7), torch.nan), "'lower' must not be NaN"),
    "massless": (changed("mass", (0, 3), 0.0), r"'mass' must be positive. Got 0.0 at \(0, 3\)"),
    "indefinite": (changed("inertia", (0, 0, 3), 5.0), r"'inertia' must be positive definite .* at \(0, 0\)"),
    "limits": (changed("lower", (0, 7), 2.0), r"'lower' must be below 'upper'. Got 2.0 at \(0, 7\)"),
    "free joint": (changed("damping", (0, 5), 1.0), r"'damping' must be the model's for a free joint.* at \(0, 5\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_are_refused_by_name_and_change_nothing(case):
    given, message = BAD[case]
    env = make(ANT)
    env.reset(seed=0)
    gravity = (2.0 * env.parameters["gravity"]).requires_grad_()
    env.set_parameters({"gravity": gravity})
    env.step_grad(torch.zeros(3, 8, requires_grad=True))
    before, model = env.get_state(), make(ANT).parameters
    with pytest.raises(ValueError, match=message):
        env.set_parameters({"gear": model["gear"], **given(model)})
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())
    assert torch.equal(env.parameters["gravity"], gravity)
    (grad,) = torch.autograd.grad(env.step_grad(torch.zeros(3, 8))[0].sum(), gravity)
    assert grad.any(), "a refusal must not cut the graph"


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match=r"parameter 'mass' must be a torch.Tensor. Got float"):
        make().set_parameters({"mass": 1.0})
    with pytest.raises(TypeError, match=r"parameters must be a mapping of names to tensors. Got Tensor"):
        make().set_parameters(torch.ones(1, 4))


def test_a_robot_that_travels_on_slides_cannot_be_bound_to_a_place():
    env = make(HOPPER)
    for name, value in (("stiffness", 1.0), ("upper", 5.0)):
        with pytest.raises(ValueError, match=f"parameter '{name}' must be the model's .* where a robot travels"):
            env.set_parameters(changed(name, (0, 0), value)(env.parameters))
    env.set_parameters(changed("damping", (0, 0), 1.0)(env.parameters))


def test_inertias_that_no_body_has_are_refused_unless_the_model_has_them_too():
    for id, allowed in ((ANT, True), (ANYMAL, False)):
        env = make(id)
        inertia = env.parameters["inertia"]
        inertia[0, 2] = torch.tensor([0.1, 0.2, 0.31, 0.0, 0.0, 0.0])
        assert env.model.physical_inertias is not allowed
        if allowed:
            env.set_parameters({"inertia": inertia})
            continue
        with pytest.raises(ValueError, match=r"'inertia' must have no principal moment that exceeds .* at \(0, 2\)"):
            env.set_parameters({"inertia": inertia})
        inertia[0, 2, 2] = 0.3
        env.set_parameters({"inertia": inertia})


def test_massless_links_have_no_inertia():
    env = make(HOPPER)
    inertia, mass = env.parameters["inertia"], env.parameters["mass"]
    inertia[0, 0, :3] = 1.0
    assert mass[0, 0] == 0.0
    with pytest.raises(ValueError, match=r"'inertia' must be zero for a massless link. Got .* at \(0, 0\)"):
        env.set_parameters({"inertia": inertia})
    mass[0, 0] = 1.0
    env.set_parameters({"inertia": inertia, "mass": mass})
    masses = mass.repeat(env.num_envs, 1)
    masses[1, 0] = 0.0
    with pytest.raises(ValueError, match=r"'inertia' must be zero for a massless link. Got .* at \(1, 0\)"):
        env.set_parameters({"inertia": inertia[:1], "mass": masses})


@dataclass(frozen=True, kw_only=True)
class Wheel(Hopper):
    """A Hopper on whose foot a massless wheel turns that its armature alone resists, and one that has mass too."""

    def model(self):
        hopper, joint = super().model(), Joint(type=JointType.HINGE, armature=0.01)
        links = [Link(name=name, parent="foot", joint=joint) for name in ("bare", "solid")]
        links[1] = replace(links[1], mass=1.0, inertia=(0.1, 0.1, 0.1, 0.0, 0.0, 0.0))
        return replace(hopper, links=(*hopper.links, *links))

    def start_q(self):
        return (0.0,) * 8

    def reset(self, random, start_q):
        qd = random.uniform(8, -0.1, 0.1)
        return start_q.expand(len(qd), -1), qd

    def observation(self, state, action):
        return torch.cat([state.q[:, 1:6], state.qd[:, :6]], dim=-1)


UNRESISTED = "in float64 nothing resists the joints of these links, .*: 'bare'. Each needs an armature"


def test_armatures_of_zero_are_refused_where_nothing_else_resists():
    env = DiffVectorEnv(Wheel(), num_envs=3, dtype="float64")
    env.reset(seed=0)
    armature = env.parameters["armature"].repeat(3, 1)
    armature[:, -1] = 0.0  # of the wheel with a mass
    env.set_parameters({"armature": armature})
    wrong = armature.clone()
    wrong[1, -2] = 0.0
    with pytest.raises(ValueError, match=f"with these parameters in environments 1, {UNRESISTED}"):
        env.set_parameters({"armature": wrong})
    with pytest.raises(ValueError, match=f"with these parameters, {UNRESISTED}"):
        env.set_parameters({"armature": torch.zeros_like(armature[:1])})
    assert torch.equal(env.parameters["armature"], armature)
    assert not env.step(torch.zeros(3, 3, dtype=torch.float64))[4]["non_finite"].any()
    mass, inertia = env.parameters["mass"], env.parameters["inertia"]
    mass[0, -2], inertia[0, -2, :3] = 0.5, 0.1
    env.set_parameters({"armature": torch.zeros_like(armature), "mass": mass, "inertia": inertia})
    assert not env.step(torch.zeros(3, 3, dtype=torch.float64))[4]["non_finite"].any()


def test_factors_that_take_all_resistance_are_refused():
    with pytest.raises(ValueError, match=f"with `randomize`, {UNRESISTED}"):
        DiffVectorEnv(Wheel(), dtype="float64", randomize={"armature": (0.0, 1.0)})
    env = DiffVectorEnv(Wheel(), num_envs=3, dtype="float64", randomize={"armature": (0.1, 1.0), "mass": (0.5, 2.0)})
    env.reset(seed=0)
    assert not env.step(torch.zeros(3, 3, dtype=torch.float64))[4]["non_finite"].any()
    DiffVectorEnv(ANT, randomize={"armature": (0.0, 0.0)})  # whose links have mass


def test_factors_are_counted_with_the_parameters_that_they_multiply():
    env = DiffVectorEnv(Wheel(), dtype="float64", randomize={"com": (0.0, 1.0)})
    env.reset(seed=0)
    inertia, com, armature = (env.parameters[name] for name in ("inertia", "com", "armature"))
    mass = env.parameters["mass"]
    mass[0, -2], com[0, -2, 0], armature[0, -2] = 0.5, 0.1, 0.0  # a point whose distance from its axis may become zero
    given = {"mass": mass, "com": com, "armature": armature, "inertia": inertia}
    with pytest.raises(ValueError, match=f"with these parameters, {UNRESISTED}"):
        env.set_parameters(given)
    alone = DiffVectorEnv(Wheel(), dtype="float64")
    alone.set_parameters(given)


def test_the_table_has_all_parameters_and_says_what_the_model_allows():
    assert list(PARAMETERS) == [name for components in ARRAYS.values() for name in components]
    for name in ARRAYS["joint"]:
        if not PARAMETERS[name].signed:
            with pytest.raises(ValueError, match=f"`{name}` of Joint must be finite and not negative"):
                Joint(type=JointType.HINGE, **{name: -1.0})


def test_the_table_of_the_readme_is_that_of_the_code():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (found,) = re.findall(r"^\| parameter .*?(?=\n\n|\Z)", readme, flags=re.MULTILINE | re.DOTALL)
    assert found == table()
