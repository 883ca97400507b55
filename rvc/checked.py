"""Settings as a page or a client sends them: each made what its field's annotation says, or refused by name.

A number may be written out ("3", "-2.5"); beyond that nothing is guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_type_hints

from rvc.errors import ConfigError

T = TypeVar("T", bound="Options")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_SHOWN_CHARACTERS = 60


class Options(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def read_settings(kind: type[T], given: Mapping[str, Any]) -> T:
    """Make a dataclass that calls `check_fields`, from settings by name; ConfigError if one is unknown."""
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in given if name not in known]:
        said = f"There is no setting {str(unknown[0])[:_SHOWN_CHARACTERS]!r}"
        raise ConfigError(f"{said}; choose from: {', '.join(known)}.")
    return kind(**given)


def check_fields(
    options: Options,
    ranges: Mapping[str, tuple[float, float]],
    choices: Mapping[str, Collection[object]],
) -> None:
    """Make every field of a dataclass, frozen or not, what its annotation says: for `__post_init__`.

    A ConfigError names the field, what was given, and what is possible: by `ranges` (lowest and highest
    value), by `choices`, else by its kind. What is neither bool, int, float nor str stays as it is.
    """
    for name, (kind, may_be_none) in _kinds_of(type(options)).items():
        value = getattr(options, name)
        if value is None and may_be_none:
            continue
        allowed = choices.get(name, (True, False) if kind is bool else None)
        low, high = ranges.get(name, (-math.inf, math.inf))
        read = _read(value, kind)
        in_range = not isinstance(read, int | float) or low <= read <= high
        if read is None or not in_range or (allowed is not None and read not in allowed):
            possible = {str: "text", int: "a whole number"}.get(kind, "a number")
            if name in ranges:
                possible += f" from {low:.12g} to {high:.12g}"
            if allowed is not None:
                shown = ("none" if choice is None else json.dumps(choice) for choice in allowed)
                possible = f"one of: {', '.join(shown)}"
            raise ConfigError(f"The setting {name!r} is {_shown(value)}; give {possible}.")
        object.__setattr__(options, name, read)


@cache
def _kinds_of(options: type) -> dict[str, tuple[type, bool]]:
    """By field its kind (bool, int, float or str), and whether it may be None."""
    found = {}
    for name, hint in get_type_hints(options).items():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        kind, *others = [kind for kind in kinds if kind is not NoneType]
        if kind in (bool, int, float, str) and not others:
            found[name] = (kind, NoneType in kinds)
    return found


def _read(value: object, kind: type) -> bool | float | str | None:
    """Return a value as one of a kind; None if it is none."""
    if kind in (bool, str):
        return value if isinstance(value, kind) else None
    if isinstance(value, str) and len(value) < _SHOWN_CHARACTERS and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return None  # True is 1 in Python, and 8.0 is 8
    try:
        read: float = kind(value)
        return read if math.isfinite(read) else None
    except OverflowError:
        return None


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
