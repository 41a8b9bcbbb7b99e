"""Many rows as one parameter: JSON, which costs either side less than an array for each column."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson


def encode_rows(values: Sequence[Mapping[str, Any]]) -> str:
    """The parameter of `from_rows`."""
    return orjson.dumps(values).decode()


def from_rows(name: str, columns: Mapping[str, str], beside: str = "") -> str:
    """What to select from: the rows in the parameter `name`, with these columns and their types,
    in their order. `beside` is a parameter of one bytea for each row, which JSON would blow up."""
    typed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    found = f"json_to_recordset(CAST(CAST(:{name} AS text) AS json))"
    if not beside:
        return f"{found} AS {name} ({typed})"
    names = ", ".join([*columns, "bytes"])
    return (
        f"ROWS FROM ({found} AS ({typed}), unnest(CAST(:{beside} AS bytea[]))) AS {name} ({names})"
    )
