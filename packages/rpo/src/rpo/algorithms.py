"""The algorithms that the command line trains, by name: a new one is one entry here."""

from typing import Any

from rpo.persistence import PersistentModel
from rpo.rpo import RPO

ALGORITHMS: dict[str, type[PersistentModel[Any]]] = {"rpo": RPO}


def algorithm_of(name: str) -> type[PersistentModel[Any]]:
    """Return the class of an algorithm by its name, in any case.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name.lower() not in ALGORITHMS:
        raise ValueError(f"There is no algorithm {name!r}, only {', '.join(ALGORITHMS)}.")
    return ALGORITHMS[name.lower()]
