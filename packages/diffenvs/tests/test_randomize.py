"""Parameters that are drawn anew for every episode."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from environments import IDS, MODES, make, random_actions

import diffenvs.simulator
from diffenvs.envs.randomize import FACTORS, Randomization
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.parameter_table import PARAMETERS
from diffenvs.testing import check_vector_env

HOPPER, ANT = "diffenvs/Hopper-v0", "diffenvs/Ant-v0"
RANGES = {"friction": (0.5, 1.0), "mass": (0.8, 1.3), "gravity": (0.9, 1.1)}


def factors(env, name):
    return env.get_state()["factors"][:, FACTORS.index(name)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("id", "dtype"), [(HOPPER, "float64"), (ANT, "float32")])
def test_randomised_environments_keep_the_contract(id, dtype, mode):
    env = make(id, dtype=dtype, autoreset_mode=mode, max_episode_steps=7, randomize=RANGES)
    check_vector_env(env, steps=16)


def test_factors_are_uniform_in_their_ranges_and_new_in_every_environment_and_episode():
    env = make(num_envs=2000, randomize=RANGES)
    env.reset(seed=0)
    drawn = [{name: factors(env, name) for name in RANGES}]
    env.reset()
    drawn.append({name: factors(env, name) for name in RANGES})
    for name, (low, high) in RANGES.items():
        x = (torch.cat([d[name] for d in drawn]).double() - low) / (high - low)
        assert len(x.unique()) > 3990, name
        assert x.min() >= -1e-6, name
        assert x.max() <= 1 + 1e-6, name
        # Standard errors of 4000 samples, five of them allowed.
        assert abs(float(x.mean()) - 0.5) < 5 * (1 / 12 / 4000) ** 0.5, name
        assert abs(float(x.var()) - 1 / 12) < 5 * (1 / 180 / 4000) ** 0.5, name
    rest = [i for i, name in enumerate(FACTORS) if name not in RANGES]
    assert (env.get_state()["factors"][:, rest] == 1.0).all()
    columns = torch.stack([d[name] for d in drawn for name in RANGES]).double()
    correlation = torch.corrcoef(columns) - torch.eye(len(columns))
    assert correlation.abs().max() < 5 / 2000**0.5


def test_factors_depend_on_seed_environment_and_episode_only():
    def draw(num_envs, ranges, seed=3):
        env = make(num_envs=num_envs, randomize=ranges, max_episode_steps=2)
        env.reset(seed=seed)
        for action in random_actions(env, 3):  # into the second episode
            env.step(action)
        return factors(env, "friction")

    expected = draw(5, RANGES)
    assert torch.equal(draw(130, RANGES)[:5], expected)
    assert torch.equal(draw(5, {"friction": RANGES["friction"]}), expected)
    assert not torch.equal(draw(5, RANGES, seed=4), expected)


def test_randomising_changes_no_first_state():
    plain, randomised = make(ANT), make(ANT, randomize=RANGES)
    for seed in (0, None, None):
        assert torch.equal(plain.reset(seed=seed)[0], randomised.reset(seed=seed)[0])


@pytest.mark.parametrize("id", IDS)
def test_factors_have_nothing_to_do_with_first_states(id):
    n = 1000
    env = make(id, n, randomize={name: (0.5, 1.0) for name in FACTORS if make(id).parameters[name].any()})
    env.reset(seed=0)
    state = env.get_state()
    drawn = torch.cat([state["q"], state["qd"], state["memory"]], dim=-1).double()
    own = state["factors"].double()
    columns = [values[:, values.std(0) > 1e-9].T for values in (drawn, own)]
    assert min(map(len, columns)) > 5
    correlation = torch.corrcoef(torch.cat(columns))[: len(columns[0]), len(columns[0]) :]
    assert correlation.abs().max() < 5 / n**0.5


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_multiplies_what_the_table_says_and_nothing_else(name):
    model = {other: torch.where(value == 0.0, 2.0, value) for other, value in make(ANT).parameters.items()}
    randomization = Randomization.of({name: (0.8, 1.2)}, model)
    env = torch.arange(3)
    drawn = randomization.draw(env * 0, env, env * 0)
    for other, value in randomization.scaled(model, drawn).items():
        scaled = other == name or other in PARAMETERS[name].scales
        factor = drawn[:, FACTORS.index(name)].view(-1, *[1] * (value.ndim - 1)) if scaled else 1.0
        assert torch.equal(value, (model[other] * factor).expand_as(value)), other


def test_environments_move_by_the_parameters_that_they_show():
    randomised, given, plain = (make(ANT, 8, randomize=r, early_termination=False) for r in (RANGES, None, None))
    for env in (randomised, given, plain):
        env.reset(seed=0)
    given.set_parameters(randomised.parameters)
    differ = []
    for action in random_actions(given, 30):
        a, b, c = (env.step(action)[0] for env in (randomised, given, plain))
        assert torch.equal(a, b)
        differ.append(not torch.equal(a, c))
    assert all(differ)


def test_environments_of_one_factor_move_as_one_with_scaled_parameters():
    fixed, given = make(HOPPER, randomize={"gravity": (0.5, 0.5)}), make(HOPPER)
    given.set_parameters({"gravity": 0.5 * given.parameters["gravity"]})
    assert torch.equal(fixed.reset(seed=0)[0], given.reset(seed=0)[0])
    for action in random_actions(given, 20):
        assert torch.equal(fixed.step(action)[0], given.step(action)[0])


def test_a_partial_reset_draws_for_its_environments_only():
    env = make(randomize=RANGES)
    env.reset(seed=0)
    before = factors(env, "mass")
    env.reset(options={"reset_mask": np.array([True, False, True])})
    assert (factors(env, "mass") == before).tolist() == [False, True, False]


def test_states_carry_their_factors():
    env, other = (make(randomize=RANGES, max_episode_steps=None) for _ in range(2))
    env.reset(seed=0)
    state = env.get_state()
    other.reset(seed=1)
    own = factors(other, "mass")
    actions = random_actions(env, 6)
    other.set_state({"q": state["q"], "qd": state["qd"]})
    assert torch.equal(factors(other, "mass"), own)
    other.set_state(state)
    assert torch.equal(factors(other, "mass"), factors(env, "mass"))
    for action in actions:
        assert torch.equal(env.step(action)[0], other.step(action)[0])
    with pytest.raises(ValueError, match=r"factors of state must be \(3, 0\) .* Got \(3, 14\)"):
        make().set_state(state)
    with pytest.raises(ValueError, match="factors of state must not be negative"):
        env.set_state({**state, "factors": -state["factors"]})
    env.step(actions[0])


def test_gradients_reach_factors_that_are_set():
    env = make(ANT, 2, randomize=RANGES, dtype="float64")
    env.reset(seed=0)
    state, actions = env.get_state(), random_actions(env, 2)

    def end(factors):
        env.set_state({**state, "factors": factors})
        for action in actions:
            observation, *_ = env.step_grad(action)
        return observation

    # The Ant is in the air, so that only mass, armature, damping and so on matter, and nothing has a kink.
    assert torch.autograd.gradcheck(end, (state["factors"].requires_grad_(),), eps=1e-5, atol=1e-7)


@pytest.mark.parametrize("randomize", [None, RANGES])
def test_parameters_are_packed_only_when_episodes_begin(monkeypatch, randomize):
    count, pack = [0], diffenvs.simulator.pack

    def counting(parameters):
        count[0] += 1
        return pack(parameters)

    monkeypatch.setattr(diffenvs.simulator, "pack", counting)
    env = make(ANT, randomize=randomize, max_episode_steps=10, early_termination=False)
    env.reset(seed=0)
    for action in random_actions(env, 30):
        env.step(action)
        env.step_grad(action)
        env.detach()
    assert count[0] == (1 if randomize is None else 6)


@pytest.mark.parametrize("ranges", [{"friction": [0.5, 1], "mass": (0.8, 1.2)}, {}])
def test_environments_are_made_again_from_their_specs(ranges):
    vector, single = make(randomize=ranges), gymnasium.make(HOPPER, randomize=ranges)
    json.dumps(vector.randomize)
    again = gymnasium.make_vec(gymnasium.envs.registration.EnvSpec.from_json(vector.spec.to_json()))
    assert again.randomize == vector.randomize
    assert torch.equal(again.reset(seed=0)[0], vector.reset(seed=0)[0])
    one = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(single.spec.to_json()))
    for env in (single, one):
        env.reset(seed=0)
    first, second = single.unwrapped.parameters, one.unwrapped.parameters
    assert all(np.array_equal(first[name], second[name]) for name in first)
    vector.reset(seed=0)
    assert np.array_equal(first["mass"], vector.parameters["mass"][0].numpy())


def test_single_environments_draw_for_every_episode():
    env = gymnasium.make(ANT, randomize=RANGES)
    env.reset(seed=0)
    model, first = make(ANT).parameters, env.unwrapped.parameters
    env.reset()
    second = env.unwrapped.parameters
    assert first["mass"].shape == (9,)
    assert first["gravity"].shape == (3,)
    assert not np.array_equal(first["friction"], second["friction"])
    for parameters in (first, second):
        ratio = parameters["friction"] / model["friction"][0].numpy()
        assert np.ptp(ratio) < 1e-6
        assert 0.5 <= ratio[0] <= 1.0


@pytest.mark.parametrize(
    ("randomize", "error", "message"),
    [
        ({"colour": (0.5, 1.0)}, ValueError, "`randomize` has no parameter 'colour'. There are mass, com, inertia"),
        ({3: (0.5, 1.0)}, ValueError, "`randomize` has no parameter 3"),
        ({"rest": (0.5, 1.0)}, ValueError, "`randomize` cannot scale 'rest': its zero is a convention"),
        ({"friction": (-0.5, 1.0)}, ValueError, r"`randomize` of 'friction' must be not negative. Got \(-0.5, 1.0\)"),
        ({"mass": (0.0, 1.0)}, ValueError, r"`randomize` of 'mass' must be positive. Got \(0.0, 1.0\)"),
        ({"friction": (1.0, 0.5)}, ValueError, r"the lowest and the highest factor in this order. Got \(1.0, 0.5\)"),
        ({"friction": (0.5, np.inf)}, ValueError, "`randomize` of 'friction' must be finite. Got inf"),
        ({"friction": (np.nan, 1.0)}, ValueError, "`randomize` of 'friction' must be finite. Got nan"),
        ({"friction": 0.5}, TypeError, "`randomize` of 'friction' must be the lowest and the highest factor. Got 0.5"),
        ({"friction": (0.5,)}, TypeError, "must be the lowest and the highest factor. Got"),
        ({"friction": ("0.5", 1.0)}, TypeError, "`randomize` of 'friction' must be a number. Got '0.5'"),
        (("friction", 0.5), TypeError, "`randomize` must be a dictionary of parameters and their ranges. Got"),
        ({"stiffness": (0.5, 1.0)}, ValueError, "`randomize` of 'stiffness' has nothing to scale: it is zero"),
    ],
)
def test_wrong_ranges_are_refused_by_name(randomize, error, message):
    with pytest.raises(error, match=message):
        make(randomize=randomize)
    with pytest.raises(error, match=message):
        gymnasium.make(HOPPER, randomize=randomize)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@needs_cuda
def test_randomised_steps_on_cuda_never_wait_for_the_device():
    env = make(ANT, 64, device="cuda", randomize=RANGES, max_episode_steps=5)
    env.reset(seed=0)
    friction = env.parameters["friction"].requires_grad_()
    env.set_parameters({"friction": friction})
    action = torch.zeros(64, 8, device="cuda")
    env.step_grad(action)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(12):
            env.step(action)
            env.step_grad(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_factors_on_cuda_are_those_of_the_cpu():
    here, there = (make(randomize=RANGES, dtype="float64", device=device) for device in ("cpu", "cuda"))
    for env in (here, there):
        env.reset(seed=1)
    torch.testing.assert_close(here.get_state()["factors"], there.get_state()["factors"].cpu(), rtol=0, atol=1e-15)
    check_vector_env(
        DiffVectorEnv(ANT, 3, device="cuda", randomize=RANGES, dtype="float64", max_episode_steps=7), steps=16
    )
