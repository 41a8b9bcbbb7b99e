"""Makers of small schemas: JSON Schema 2020-12, as OpenAPI 3.1 has it."""

from collections.abc import Collection, Mapping
from typing import Any

from service.core.fields import VISIBLE
from service.core.ids import ALPHABET, LENGTH
from service.core.targets import MAX_URL

Schema = dict[str, Any]

CONTROL = r"\u0000-\u001f\u007f-\u009f"
PLAIN = rf"^[^{CONTROL}]*$"  # no control characters
PROSE = rf"^[^{CONTROL}]*[^\s{CONTROL}][^{CONTROL}]*$"  # nor only blanks
STORABLE = r"^[^\u0000]*$"  # Postgres has no such text
HTTP = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$"
RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"
SHOWN_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


def of_account() -> dict[str, Schema]:
    """A member of every answer to an operator, and of no other."""
    return {"account": text("Its account's name; to operators alone.")}


def ref(name: str) -> Schema:
    """The schema of that name among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **rules: object) -> Schema:
    return _described({"type": "string", **rules}, description)


def sized(allowed: range, description: str = "", **rules: object) -> Schema:
    """A text of so many characters."""
    return text(description, minLength=allowed[0], maxLength=allowed[-1], **rules)


def visible(allowed: range, description: str = "") -> Schema:
    """A text of so many visible ASCII characters."""
    return sized(allowed, description, pattern=f"^{VISIBLE.pattern}$")


def word(*allowed: str, description: str = "") -> Schema:
    return text(description, enum=list(allowed))


def whole(low: int | None = None, high: int | None = None, description: str = "") -> Schema:
    return _described(_bounded("integer", low, high), description)


def number(low: float | None = None, high: float | None = None, description: str = "") -> Schema:
    return _described(_bounded("number", low, high), description)


def truth(description: str = "") -> Schema:
    return _described({"type": "boolean"}, description)


def array(items: Schema, allowed: range | None = None, description: str = "") -> Schema:
    bounds = {} if allowed is None else {"minItems": allowed[0], "maxItems": allowed[-1]}
    return _described({"type": "array", "items": items, **bounds}, description)


def record(
    required: Mapping[str, Schema],
    optional: Mapping[str, Schema] | None = None,
    description: str = "",
) -> Schema:
    """An object of these members, and no others."""
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        schema["required"] = list(required)
    return _described(schema | {"additionalProperties": False}, description)


def nullable(schema: Schema) -> Schema:
    """This or null; what may be null already stays as it is."""
    if isinstance(schema.get("type"), list) or schema.get("type") == "null":
        return schema
    if "type" not in schema or "const" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    wider = schema | {"type": [schema["type"], "null"]}
    return wider | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def may_be_null(members: Mapping[str, Schema]) -> dict[str, Schema]:
    """These members of a request, each of which is not set where it is null."""
    return {name: nullable(schema) for name, schema in members.items()}


def described(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def url(description: str, pattern: str = HTTP) -> Schema:
    return text(description, format="uri", pattern=pattern, maxLength=MAX_URL)


def id_of(prefix: str, more: str = "") -> Schema:
    """An id of ours; `more` is what may follow in it."""
    return text(pattern=f"^{prefix}_[{ALPHABET}]{{{LENGTH}}}{more}$")


def shown_time(description: str = "") -> Schema:
    """A time in an answer."""
    return text(description, format="date-time", pattern=SHOWN_TIME)


def given_time(description: str = "") -> Schema:
    """A time in a request."""
    return text(description, format="date-time", pattern=RFC3339)


def page_of(item: Schema, cursor: Schema, **more: Schema) -> Schema:
    return record({"data": array(item), "next_cursor": cursor, **more})


def any_case(words: Collection[str]) -> str:
    """A pattern for any of these words, in whatever case."""
    return "|".join("".join(map(_either, word)) for word in words)


def _either(letter: str) -> str:
    return f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else f"\\{letter}"


def _bounded(type_: str, low: float | None, high: float | None) -> Schema:
    bounds = {"minimum": low, "maximum": high}
    return {"type": type_} | {name: one for name, one in bounds.items() if one is not None}


def _described(schema: Schema, description: str) -> Schema:
    return schema | ({"description": description} if description else {})
