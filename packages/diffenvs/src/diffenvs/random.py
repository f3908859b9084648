"""Random numbers that depend on a seed, an environment, an episode and a draw, and on nothing else.

Each number is a hash of its counter, so an environment's stream is the same whatever the number of environments, and
no generator state has to be stored. The hash is SplitMix64 in wrapping int64 arithmetic, the same on the CPU and CUDA.

References: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """Reinterpret the lowest 64 bits of an integer as a signed one."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


_STEP = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
# Odd and without structure, so that no two pairs of small numbers (environment, episode) give the same sum.
_ENV = _signed(0xD1342543DE82EF95)
_EPISODE = _signed(0xAEF17502108EF2D9)


def seed_stream(seed: int) -> int:
    """Hash a seed, not negative and of any size, to the signed 64-bit word that names its streams."""
    stream = 0
    while True:
        stream = int(splitmix64(torch.tensor(_signed(stream + seed))))
        seed >>= 64
        if not seed:
            return stream


def splitmix64(counter: Tensor) -> Tensor:
    """Hash int64 counters to int64 words of uniformly distributed bits, of the same shape."""
    x = counter + _STEP
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift in zeros, whatever the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class EnvRandom:
    """Random numbers of many environments for one reset; every call draws further ones.

    Parameters
    ----------
    stream, env, episode
        Hash of the seed by :func:`seed_stream`, index of the environment and number of its episode, (N,) int64 each.
    dtype
        Of the numbers. They are drawn with 53 bits and then rounded, so float32 and float64 environments of one seed
        agree to rounding.
    step
        Step of the episode, (N,) int64; without it, the numbers are those of the reset.
    """

    def __init__(
        self, stream: Tensor, env: Tensor, episode: Tensor, dtype: torch.dtype, step: Tensor | None = None
    ) -> None:
        key = splitmix64(stream + env * _ENV + episode * _EPISODE)
        self._key = (key if step is None else splitmix64(key + step)).unsqueeze(-1)
        self._dtype = dtype
        self._drawn = 0

    def uniform(self, size: int, low: float | Tensor, high: float | Tensor) -> Tensor:
        """Draw numbers between `low` and `high`, which are numbers or float64 tensors (size,); (N, size)."""
        return (self._bits(size).double() * ((high - low) * 2.0**-53) + low).to(self._dtype)

    def normal(self, size: int) -> Tensor:
        """Draw standard normal numbers, (N, size): quantiles of uniform ones, which are neither 0 nor 1."""
        probability = (_shift_right(self._bits(size), 1).double() + 0.5) * 2.0**-52
        return torch.special.ndtri(probability).to(self._dtype)

    def _bits(self, size: int) -> Tensor:
        """Draw 53 bits each, (N, size)."""
        draw = torch.arange(self._drawn, self._drawn + size, device=self._key.device)
        self._drawn += size
        return _shift_right(splitmix64(self._key + draw * _STEP), 11)
