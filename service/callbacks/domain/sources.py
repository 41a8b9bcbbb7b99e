"""The sources of callbacks: who may send them and how each signs, by CALLSHEET_CALLBACK_SOURCES."""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType

from service.callbacks.domain.signature_schemes import (
    UNSIGNED,
    V1,
    V1A,
    Ed25519,
    Hmac,
    Scheme,
    SharedSecret,
    require,
)

PROVIDER = "provider"  # the source that is always there
SOURCE_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")  # a token has a dot, and so is never one
MAX_NAME_SHOWN = 40  # characters of a wrong name repeated in a message

PRESETS: Mapping[str, Scheme] = MappingProxyType({"v1": V1, "v1a": V1A, "unsigned": UNSIGNED})
CONFIGURABLE: Mapping[str, type[Hmac | Ed25519 | SharedSecret]] = MappingProxyType(
    {"hmac": Hmac, "ed25519": Ed25519, "shared-secret": SharedSecret}
)


class _NameValuePairs(list[tuple[str, object]]):
    """A JSON object as it was written, so that a name given twice is noticed."""


def read_sources(text: str) -> Mapping[str, Scheme]:
    """The scheme of each source by the source's name; the provider's is V1 unless it is given.

    `text` is a JSON object of names and descriptions, or empty. ValueError names the source, the
    field and the rule.
    """
    described = _json_object(text) if text.strip() else {}
    sources: dict[str, Scheme] = {PROVIDER: V1}
    for name, description in described.items():
        rule = "a source's name is a-z, 0-9 and -, at most 32, a letter first"
        require(SOURCE_NAME.fullmatch(name), f"{_quoted(name)}: {rule}")
        try:
            sources[name] = _scheme(description)
        except ValueError as error:
            msg = f"{name}: {error}"
            raise ValueError(msg) from None
    return MappingProxyType(sources)


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text, object_pairs_hook=_NameValuePairs, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        value = None
    return _object_fields(value)


def _object_fields(value: object) -> dict[str, object]:
    if not isinstance(value, _NameValuePairs):
        msg = "must be a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - whatever is wrong with a setting is a ValueError
    members = dict(value)
    require(len(members) == len(value), "must not give a name twice")
    return members


def _scheme(description: object) -> Scheme:
    given = _object_fields(description)
    word = given.pop("scheme", None)
    words = (*PRESETS, *CONFIGURABLE)
    if not isinstance(word, str) or word not in words:
        msg = f"scheme must be one of {', '.join(words)}"
        raise ValueError(msg)
    kind = CONFIGURABLE.get(word)
    known = [field for field in fields(kind) if field.init] if kind else []
    names = [field.name for field in known]
    for name in given:
        rule = f"unknown field {_quoted(name)}; known are {', '.join(('scheme', *names))}"
        require(name in names, rule)
    for field in known:
        require(field.default is not MISSING or field.name in given, f"{field.name} is required")
    return kind(**_string_fields(given)) if kind else PRESETS[word]


def _string_fields(given: Mapping[str, object]) -> dict[str, str]:
    texts = {}
    for name, value in given.items():
        if not isinstance(value, str):
            msg = f"{name} must be a string"
            raise ValueError(msg)  # noqa: TRY004 - whatever is wrong with a setting is a ValueError
        texts[name] = value.lower() if name.endswith("header") else value
    return texts


def _quoted(name: str) -> str:
    return repr(name[:MAX_NAME_SHOWN])  # on one line, whatever it holds
