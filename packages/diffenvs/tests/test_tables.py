"""Descriptions of tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from simulators import MATERIAL, body
from torch import Tensor

from diffenvs.model import Actuator, Joint, JointType, Model, Sphere
from diffenvs.tables import describe, main, page
from diffenvs.tasks.anymal import Anymal
from diffenvs.tasks.base import AbstractTask, Entry
from diffenvs.tasks.hopper import Hopper


def squared(x: Tensor) -> Tensor:
    """Square."""
    return x.square()


@dataclass(frozen=True, kw_only=True)
class Pusher(AbstractTask):
    """A cart that is pushed to a goal.

    The goal is drawn anew | often.

    Notes
    -----
    Not shown.
    """

    OBSERVATION = (Entry("position", 1, "m", "of the cart"), Entry("goal", 2, "m", "place and width"))
    MEMORY = (Entry("goal", 2, "m", "place and width"),)

    action_cost: float = 0.1
    """Of the squared action."""
    width: float = 1 / 3
    """Of the goal, see :meth:`goal` [m]."""
    bonus: float = 1.0

    def model(self) -> Model:
        slide = Joint(type=JointType.SLIDE, lower=-1.0, upper=2.5, limit_stiffness=1e3, limit_damping=3.0)
        hard = replace(MATERIAL, stiffness=12345.0)
        shapes = tuple(Sphere(radius=0.1, material=material) for material in (MATERIAL, hard))
        links = (body(slide, name="cart", mass=2.5, shapes=shapes),)
        return Model(name="pusher", links=links, actuators=(Actuator(link="cart", gear=7.0),))

    def start_q(self) -> tuple[float, ...]:
        return (0.25,)

    def reset(self, random, start_q):
        """Draw the cart's place."""
        return start_q, torch.zeros_like(start_q)

    def observation(self, state, action):
        return torch.cat([state.q, state.memory], dim=-1)

    def reward_terms(self, observation, action, next_observation):
        """Near the goal."""
        near = self.near(self.entry(observation, "position"))
        return {"near": near, "action": -self.action_cost * squared(action)}

    def near(self, position):
        """Whether it is."""
        # As the crow flies.
        return squared(position) < self.width

    def terminated(self, next_observation):
        return torch.zeros(len(next_observation), dtype=torch.bool)


def rows(text: str, headline: str) -> list[list[str]]:
    """Cells of the first table below a headline."""
    lines = text.split(f"{headline}\n", 1)[1].splitlines()
    table = [line for line in lines[: next((i for i, line in enumerate(lines) if line.startswith("#")), None)] if line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table if line.startswith("|")][2:]


def test_observation_and_memory_are_listed_with_their_indices():
    text = describe(Pusher(), "me/Pusher-v0")
    assert rows(text, "### Observation (3)") == [
        ["`[0]`", "`position`", "m", "of the cart"],
        ["`[1:3]`", "`goal`", "m", "place and width"],
    ]
    assert rows(text, "### Memory (2)") == [["`[0:2]`", "`goal`", "m", "place and width"]]
    assert "### Memory" not in describe(Hopper(), "Hopper")


def test_actions_are_listed_with_joint_force_and_range():
    (cart,) = rows(describe(Pusher(), ""), "### Action (1)")
    assert cart == ["`[0]`", "`cart`", "slide", "7 N", "-1 to 2.5 m", "1000 N/m", "3 N s/m"]
    leg = ["`[1]`", "`leg`", "hinge", "200 N m", "-2.61799 to 0 rad", "1000 N m/rad", "0 N m s/rad"]
    assert leg in rows(describe(Hopper(), ""), "### Action (3)")
    assert [line[4:] for line in rows(describe(Anymal(), ""), "### Action (12)")] == 12 * [["unlimited", "", ""]]


def test_reward_and_termination_are_shown_with_all_functions_of_the_task():
    text = describe(Pusher(), "")
    reward = text.split("### Reward\n\n")[1].split("\n\n### Termination\n\n")[0]
    assert (
        reward
        == """\
```python
def reward_terms(self, observation, action, next_observation):
    near = self.near(self.entry(observation, "position"))
    return {"near": near, "action": -self.action_cost * squared(action)}


def near(self, position):
    # As the crow flies.
    return squared(position) < self.width


def squared(x: Tensor) -> Tensor:
    return x.square()
```"""
    )
    assert "```python\ndef terminated(self, next_observation):\n    return torch.zeros(" in text


def test_constants_are_those_of_the_task_with_their_docstrings():
    constants = rows(describe(Pusher(bonus=2.0), ""), "### Constants")
    assert [line[0] for line in constants[:2]] == ["`early_termination`", "`reset_noise`"]  # those of all tasks
    assert constants[2] == ["`action_cost`", "`0.1`", "Of the squared action."]
    assert ["`width`", "`0.333333`", "Of the goal, see `goal` [m]."] in constants
    assert ["`bonus`", "`2`", ""] in constants


def test_robot_start_and_every_material_are_shown():
    text = describe(Pusher(), "me/Pusher-v0")
    assert text.startswith("## me/Pusher-v0\n\nA cart that is pushed to a goal.\n\nThe goal is drawn anew | often.\n\n")
    assert "Not shown" not in text
    assert "### Reset\n\nDraw the cart's place.\n\nStart pose: (0.25).\n" in text
    assert "`pusher`: 1 links, 1 coordinates, 1 degrees of freedom, 2.50 kg." in text
    assert [part.split("`stiffness` | `")[1].split("`")[0] for part in text.split("#### Contact")[1:]] == [
        "10000",
        "12345",
    ]


def test_page_lists_the_tasks_with_their_sizes_and_says_how_it_is_made():
    text = page(["diffenvs:diffenvs/Ant-v0", "diffenvs/Humanoid-v0"])
    assert text.splitlines()[0] == "<!-- Generated: python -m diffenvs.tables > docs/tasks.md -->"
    table = rows(text, "# Tasks")
    assert [[line[0], *line[2:]] for line in table] == [
        ["`diffenvs/Ant-v0`", "37", "8", "1000"],
        ["`diffenvs/Humanoid-v0`", "76", "21", "1000"],
    ]
    assert text.count("\n## ") == 2


def test_task_without_source_is_refused():
    names = {"AbstractTask": AbstractTask, "Hopper": Hopper, "dataclass": dataclass, "__name__": "__main__"}
    exec("@dataclass(frozen=True)\nclass Typed(Hopper):\n    def terminated(self, x): return x > 0", names)
    with pytest.raises(ValueError, match=r"described from their source\. That of Typed\S* is in no file"):
        describe(names["Typed"](), "")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["diffenvs/Snake-v0"], "Environment `Snake` doesn't exist in namespace diffenvs"),
        (["nowhere:me/Snake-v0"], "No module named 'nowhere'"),
        (["CartPole-v1"], "no task has the id 'CartPole-v1'"),
    ],
)
def test_mistakes_end_with_one_line(ids, message, capsys):
    with pytest.raises(SystemExit, match="1"):
        main(ids)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"python -m diffenvs.tables: {message}")


def test_help_says_what_is_described(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: python -m diffenvs.tables [-h] [id ...]")
