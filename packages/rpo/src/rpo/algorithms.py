"""The algorithms that the command line trains, by name: a new one is one entry here."""

from typing import Any

from rpo.model import FirstOrderModel
from rpo.ppo import PPO
from rpo.rpo import RPO
from rpo.sapo import SAPO
from rpo.shac import SHAC

ALGORITHMS: dict[str, type[FirstOrderModel[Any]] | type[PPO]] = {"rpo": RPO, "sapo": SAPO, "shac": SHAC, "ppo": PPO}


def algorithm_of(name: str) -> type[FirstOrderModel[Any]] | type[PPO]:
    """Return the class of an algorithm by its name, in any case.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name.lower() not in ALGORITHMS:
        raise ValueError(f"There is no algorithm {name!r}, only {', '.join(ALGORITHMS)}.")
    return ALGORITHMS[name.lower()]
