"""Masks of environments, and questions to them that never wait for a GPU."""

from __future__ import annotations

from torch import Tensor


def known_empty(mask: Tensor) -> bool:
    """Whether no environment is selected, as far as one can know without waiting: on the CPU. On CUDA, False.

    Work for the selected environments may be left out if this is true, and must change no other environment if not.
    """
    return not mask.is_cuda and not bool(mask.any())


def rows(mask: Tensor, limit: int = 8) -> str:
    """List the first few environments of a mask, for messages."""
    found = mask.nonzero().flatten().tolist()
    return ", ".join(map(str, found[:limit])) + (", ..." if len(found) > limit else "")
