"""What each tunable number of a model is, for those who set, learn or randomise it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANGLE_ZERO: Final = "its zero is a convention of the robot"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """Of one parameter of :func:`diffenvs.parameters.default_parameters`."""

    each: str
    """What it has an entry for."""
    unit: str
    factor: str = "all of them"
    """What a factor drawn by ``randomize`` multiplies."""
    scales: tuple[str, ...] = ()
    """Other parameters that the same factor multiplies."""
    not_scaled_because: str = ""
    """Why ``randomize`` refuses it, if so."""
    signed: bool = False
    """Whether its numbers may be negative."""
    positive: bool = False
    """Whether factors must not be zero, and values not where the model's are not."""


PARAMETERS: Final[dict[str, Meaning]] = {
    "mass": Meaning(
        each="link", unit="kg", factor="masses and inertias, as of a denser body", scales=("inertia",), positive=True
    ),
    "com": Meaning(each="link", unit="m", factor="distances from the links' origins", signed=True),
    "inertia": Meaning(
        each="link", unit="kg m^2", factor="inertias, in addition to the mass's factor", signed=True, positive=True
    ),
    "stiffness": Meaning(each="joint", unit="N m/rad, N/m"),
    "rest": Meaning(each="joint", unit="rad, m", not_scaled_because=ANGLE_ZERO, signed=True),
    "damping": Meaning(each="joint", unit="N m s/rad, N s/m"),
    "armature": Meaning(each="joint", unit="kg m^2, kg"),
    "limit_stiffness": Meaning(each="joint", unit="N m/rad, N/m"),
    "limit_damping": Meaning(each="joint", unit="N m s/rad, N s/m"),
    "lower": Meaning(each="joint", unit="rad, m", not_scaled_because=ANGLE_ZERO, signed=True),
    "upper": Meaning(each="joint", unit="rad, m", not_scaled_because=ANGLE_ZERO, signed=True),
    "contact_stiffness": Meaning(each="shape", unit="N/m"),
    "contact_damping": Meaning(each="shape", unit="N s/m^2"),
    "tangential_damping": Meaning(each="shape", unit="N s/m"),
    "friction": Meaning(each="shape", unit="1"),
    "gear": Meaning(each="actuator", unit="N m, N", signed=True),
    "gravity": Meaning(each="environment", unit="m/s^2", signed=True),
}
"""All parameters, in the order of :data:`diffenvs.parameters.ARRAYS`."""


def table() -> str:
    """Return the table as Markdown."""
    rows = ["| parameter | for each | unit | a factor of `randomize` multiplies |", "|---|---|---|---|"]
    for name, meaning in PARAMETERS.items():
        factor = f"refused: {meaning.not_scaled_because}" if meaning.not_scaled_because else meaning.factor
        rows.append(f"| `{name}` | {meaning.each} | {meaning.unit} | {factor} |")
    return "\n".join(rows)
