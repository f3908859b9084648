"""Tables on a terminal."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return rows of equal length as lines: the first columns, of names, flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
