"""Many rows as one parameter of a statement: JSON, cheaper than an array for each column."""

from collections import abc
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec

# The types in Postgres of a row's fields, by those in Python.
_TYPES: Final[Mapping[object, str]] = MappingProxyType(
    {
        str: "text",
        int: "int",
        float: "float",
        bool: "bool",
        Decimal: "numeric",
        datetime: "timestamptz",
        abc.Mapping: "jsonb",
        abc.Sequence: "text[]",
    }
)


def encode_rows(values: Sequence[Mapping[str, Any] | msgspec.Struct]) -> str:
    """The value of a parameter that `from_rows` reads: a JSON array of objects. A member that is
    left out reads as NULL, and costs Postgres nothing."""
    return msgspec.json.encode(values).decode()


def columns_of(row: type[msgspec.Struct]) -> dict[str, str]:
    """The columns of rows that are structs of this class, each with its type, for `from_rows`."""
    return {name: _TYPES[_plain(hint)] for name, hint in get_type_hints(row).items()}


def _plain(hint: object) -> object:
    """`str` for `str | None`; Mapping and Sequence without what is in them."""
    if isinstance(hint, UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    return get_origin(hint) or hint


def from_rows(name: str, columns: Mapping[str, str], bytea: str = "") -> str:
    """A FROM item, called `name`, of the rows in the parameter `name`, with these columns in their
    order, each with its type.

    `bytea` names a second parameter, an array of one bytea a row, which JSON would blow up: it is
    the last column, called bytes.
    """
    typed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    recordset = f"json_to_recordset(CAST(CAST(:{name} AS text) AS json))"
    if not bytea:
        return f"{recordset} AS {name} ({typed})"
    names = ", ".join([*columns, "bytes"])
    arrays = f"unnest(CAST(:{bytea} AS bytea[]))"
    return f"ROWS FROM ({recordset} AS ({typed}), {arrays}) AS {name} ({names})"
