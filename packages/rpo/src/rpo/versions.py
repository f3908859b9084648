"""Versions of this package and of those whose numbers its trainings depend on."""

from importlib import metadata

NAME = "rpo-rl"
"""Of this package's distribution."""
VERSION = metadata.version(NAME)
"""Of this package."""
OTHERS = ("diffenvs", "warp-lang", "torch", "stable-baselines3", "gymnasium", "numpy")
"""Distributions that a training may use."""


def versions() -> dict[str, str]:
    """Return the versions of this package and of the others, by distribution, as far as they are installed."""
    found = {NAME: VERSION}
    for name in OTHERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
