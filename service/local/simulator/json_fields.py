"""Reads a JSON object into a dataclass, with known names and matching types only."""

from dataclasses import fields, replace
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def replace_fields(base: T, body: object) -> T:
    """`base` with the fields of `body`; ValueError names the first field that is wrong."""
    if not isinstance(body, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 — the caller's data, not a bug
    hints = get_type_hints(type(base))
    known = [field.name for field in fields(base)]  # type: ignore[arg-type]
    for name, value in body.items():
        if name not in known:
            raise ValueError(f"{name} is unknown; known are {', '.join(known)}")
        if not has_type(value, hints[name]):
            raise ValueError(f"{name} does not take {value!r}")
    return replace(base, **body)  # type: ignore[type-var]


def has_type(value: object, hint: Any) -> bool:  # noqa: ANN401 — a type annotation has no type of its own
    """Whether a JSON value is of the annotated type; an integer passes as a float."""
    inner = get_args(hint)
    match get_origin(hint):
        case origin if origin in (UnionType, Union):
            return any(has_type(value, option) for option in inner)
        case origin if origin is Literal:
            return value in inner
        case origin if origin is list:
            return isinstance(value, list) and all(has_type(item, inner[0]) for item in value)
        case origin if origin is dict:
            return isinstance(value, dict) and all(
                has_type(item, inner[1]) for item in value.values()
            )
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
