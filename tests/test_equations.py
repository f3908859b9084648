"""The README's table of the paper's equations is that of the code: number, function, value."""

import importlib
import inspect
import math
import re
from pathlib import Path

import pytest
import torch

from rpo.distributions import SquashedGaussian

README = (Path(__file__).parents[1] / "README.md").read_text()
ROWS = re.findall(r"\| (\d+), [^|]+\| \[`([^`]+)`\]\(([^)]+)\)", README)
NO = torch.zeros(2, 1, dtype=torch.bool)


def gaussian(mean, std=1.0):
    return SquashedGaussian(torch.tensor([[mean]]), torch.tensor([[std]]).log())


def presquash(function):
    return math.tanh(function(gaussian(0.5, 2.0), torch.tensor([[0.25]])))


def window_objective(function):
    rewards, next_values = torch.tensor([[1.0], [2.0]]), torch.tensor([[9.0], [4.0]])
    return function(rewards, next_values, terminated=NO, truncated=NO, gamma=0.5)


def kl_penalty(function):
    return function(gaussian(0.0), gaussian(1.0, 2.0))


def entropy_bonus(function):
    return function(gaussian(0.0), torch.zeros(1, 1))


def policy_objective(function):
    return function(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(4.0), kl_coef=0.5, entropy_coef=0.25)


def regenerated_action(function):
    """The action and its derivative to the mean."""
    policy = gaussian(0.3)
    action = function(SquashedGaussian(policy.mean.requires_grad_(), policy.log_std), torch.tensor([[0.7]]))
    return action.item(), torch.autograd.grad(action, policy.mean)[0].item()


def clipped_surrogate(function):
    actions, gradients = torch.tensor([[0.5], [0.5]]), torch.tensor([[2.0], [8.0]])
    return function(actions, gradients, torch.tensor([1.5, 2.1]), clip_low=0.8, clip_high=1.0)


def value_loss(function):
    return function(torch.tensor([[1.0], [4.0]]), torch.tensor([2.0]))


VALUES = {
    2: (presquash, math.tanh(0.5 + 2.0 * 0.25)),
    4: (window_objective, (1.0 + 0.5 * 2.0 + 0.5**2 * 4.0) / 2),
    9: (kl_penalty, math.log(2.0 / 1.0) + (1.0**2 + (0.0 - 1.0) ** 2) / (2 * 2.0**2) - 0.5),
    10: (entropy_bonus, (0.5 * math.log(2 * math.pi) + 0.5) / 2 / 0.5),
    11: (policy_objective, 1.0 - 0.5 * 2.0 + 0.25 * 4.0),
    12: (regenerated_action, (math.tanh(0.7), 1.0 - math.tanh(0.7) ** 2)),
    13: (clipped_surrogate, 1.5 * 0.5 * 2.0),
    14: (value_loss, ((1.0 - 2.0) ** 2 + (4.0 - 2.0) ** 2) / 2),
}
"""What calls the function of each equation, and what a hand makes of the equation with the same numbers."""


def test_table_has_the_equations_of_the_paper_once_each():
    assert [int(number) for number, _, _ in ROWS] == sorted(VALUES)


@pytest.mark.parametrize(("number", "name", "path"), ROWS)
def test_function_that_the_table_names_claims_the_equation_and_has_its_value(number, name, path):
    module = importlib.import_module(f"rpo.{Path(path).stem}")
    function = module
    for part in name.removeprefix(f"{Path(path).stem}.").split("."):
        function = getattr(function, part)
    assert f"Eq. ({number})" in inspect.getdoc(function)
    call, expected = VALUES[int(number)]
    assert call(function) == pytest.approx(expected)
