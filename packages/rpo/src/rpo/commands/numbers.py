"""Numbers as users write them on the command line."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

DIGITS = 18
"""More than any count has, and few enough to write out."""


def parse_count(text: str) -> int:
    """Return the integer of a text, which may be written as 1e5 or 100_000 too.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if number.is_finite() and number.adjusted() < DIGITS and number == int(number):
        return int(number)
    raise ValueError(f"{text!r} is not an integer")


Count = Annotated[
    int,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: parse_count(texts[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An integer for which `parse_count` reads what is given."""
