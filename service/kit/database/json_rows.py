"""Many rows as one parameter of a statement: JSON, cheaper than an array for each column."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


def encode_rows(values: Sequence[Mapping[str, Any] | msgspec.Struct]) -> str:
    """The value of a parameter that `from_rows` reads: a JSON array of objects."""
    return msgspec.json.encode(values).decode()


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
