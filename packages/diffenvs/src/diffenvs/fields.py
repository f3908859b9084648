"""Fields of dataclasses, held to the types that they are declared with."""

from __future__ import annotations

import dataclasses
import enum
import functools
import numbers
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from diffenvs.quantities import as_vector, set_field

_WORDS: Final[dict[Any, str]] = {bool: "True or False", int: "an integer", float: "a number", str: "a string"}


def convert_fields(instance: Any, owner: str) -> None:
    """Bring all fields of a frozen dataclass to their types, by :func:`converted`; `owner` is its name in errors."""
    for name, kind in _kinds(type(instance)).items():
        set_field(instance, name, converted(f"`{name}` of {owner}", getattr(instance, name), kind))


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def converted(what: str, value: Any, kind: Any) -> Any:
    """Return a value in its declared type: NumPy's numbers become Python's, sequences tuples.

    Parameters
    ----------
    what
        Begins the message of an error.
    value
        What was given.
    kind
        A number, bool, str, enumeration, class or union of classes, a Literal, ``tuple[float, float, float]`` and the
        like for vectors, or a tuple of any of them.

    Raises
    ------
    TypeError, ValueError
        If the value has another type; if it is no member of an enumeration or Literal, or no vector of finite numbers.
    """
    items = get_args(kind)
    if get_origin(kind) is tuple:
        if items[0] is float:
            return as_vector(what, value, len(items))
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"{what} must be a tuple. Got {value!r}.")
        return tuple(converted(f"an entry of {what}", each, items[0]) for each in value)
    if get_origin(kind) is Literal:
        return _member(what, value, items)
    if isinstance(kind, enum.EnumType):
        return kind(_member(what, value, list(kind)))
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if kind is int else numbers.Real):
            raise TypeError(f"{what} must be {_WORDS[kind]}. Got {value!r}.")
        return kind(value)
    if isinstance(value, kind):
        return value
    if kind in _WORDS:
        raise TypeError(f"{what} must be {_WORDS[kind]}. Got {value!r}.")
    classes = " or ".join(cls.__name__.replace("NoneType", "None") for cls in items or (kind,))
    raise TypeError(f"{what} must be of type {classes}. Got {type(value).__name__}.")


def _member(what: str, value: Any, members: Iterable[Any]) -> Any:
    if value in members:
        return value
    raise ValueError(f"{what} must be one of {', '.join(map(repr, members))}. Got {value!r}.")
