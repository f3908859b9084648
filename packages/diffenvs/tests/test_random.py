"""Counter-based random numbers."""

import numpy as np
import torch

from diffenvs.random import EnvRandom, seed_stream, splitmix64


def draw(env, *, seed=3, episode=0, size=5, dtype=torch.float64, step=None):
    env = torch.as_tensor(env)
    stream = torch.full_like(env, seed_stream(seed))
    return EnvRandom(stream, env, torch.full_like(env, episode), dtype, step).uniform(size, -1.0, 2.0)


def reference(x):
    """SplitMix64 in Python's integers."""
    word = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & word
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & word
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & word
    return x ^ (x >> 31)


def test_splitmix64_gives_its_published_first_output():
    assert int(splitmix64(torch.tensor(0))) % 2**64 == 0xE220A8397B1DCDAF


def test_splitmix64_equals_the_integer_reference_for_words_of_both_signs():
    words = torch.randint(-(2**63), 2**63 - 1, (1000,), generator=torch.Generator().manual_seed(0))
    expected = [reference(word % 2**64) for word in words.tolist()]
    assert [word % 2**64 for word in splitmix64(words).tolist()] == expected


def test_numbers_of_an_environment_do_not_depend_on_the_others():
    together = draw(torch.arange(64))
    for i in (0, 1, 63):
        torch.testing.assert_close(draw([i]), together[i : i + 1], rtol=0, atol=0)


def test_seeds_environments_episodes_draws_and_steps_all_change_the_numbers():
    env = torch.arange(200)
    columns = [draw(env, seed=s, episode=e) for s in (0, 1, 2**70 + 1) for e in (0, 1, 2)]
    columns += [draw(env, step=torch.full_like(env, k)) for k in (0, 1)]
    numbers = torch.cat([column.flatten() for column in columns])
    assert len(numbers.unique()) == len(numbers)


def test_further_draws_continue_where_the_last_one_ended():
    env = torch.arange(4)
    random = EnvRandom(env * 0, env, env * 0, torch.float64)
    parts = torch.cat([random.uniform(2, 0.0, 1.0), random.uniform(3, 0.0, 1.0)], dim=-1)
    whole = EnvRandom(env * 0, env, env * 0, torch.float64).uniform(5, 0.0, 1.0)
    assert torch.equal(parts, whole)


def test_normal_numbers_are_finite_and_normal():
    env = torch.arange(20000)
    random = EnvRandom(env * 0, env, env * 0, torch.float64)
    x = random.normal(3)
    assert x.isfinite().all()
    # The first, second and fourth powers of normal numbers have the variances 1, 2 and 96.
    n = x.numel()
    assert abs(float(x.mean())) < 4 * n**-0.5
    assert abs(float(x.square().mean()) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float(x.pow(4).mean()) - 3) < 4 * (96 / n) ** 0.5
    assert not torch.equal(random.normal(3), x)


def test_normal_numbers_of_the_most_extreme_bits_are_finite(monkeypatch):
    zero = torch.zeros(1, dtype=torch.int64)
    random = EnvRandom(zero, zero, zero, torch.float64)
    for bits in (0, 2**53 - 1):
        monkeypatch.setattr(random, "_bits", lambda size, bits=bits: torch.full((1, size), bits))
        assert random.normal(1).isfinite().all()


def test_numbers_are_uniform_and_uncorrelated():
    n = 20000
    x = (draw(torch.arange(n), size=6).numpy() + 1.0) / 3.0
    assert x.min() >= 0.0
    assert x.max() <= 1.0
    # Standard errors of n samples, five of them allowed.
    np.testing.assert_allclose(x.mean(0), 0.5, atol=5 * np.sqrt(1 / 12 / n))
    np.testing.assert_allclose(x.var(0), 1 / 12, atol=5 * np.sqrt(1 / 180 / n))
    correlation = np.corrcoef(np.concatenate([x, np.roll(x, 1, axis=0)], axis=1).T)
    np.testing.assert_allclose(correlation, np.eye(12), atol=5 / np.sqrt(n))


def test_float32_numbers_are_the_float64_ones_rounded():
    assert torch.equal(draw(torch.arange(50), dtype=torch.float32), draw(torch.arange(50)).float())
