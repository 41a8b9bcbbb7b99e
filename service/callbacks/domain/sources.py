"""The sources of callbacks, and how each signs: read from one setting."""

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
)

PROVIDER = "provider"  # the built-in source
SOURCE = re.compile(r"[a-z][a-z0-9-]{0,31}")  # a token has a dot, and so is never one
SHOWN = 40  # characters of a wrong name repeated in a message

READY: Mapping[str, Scheme] = MappingProxyType({"v1": V1, "v1a": V1A, "unsigned": UNSIGNED})
DESCRIBED: Mapping[str, type[Hmac | Ed25519 | SharedSecret]] = MappingProxyType(
    {"hmac": Hmac, "ed25519": Ed25519, "shared-secret": SharedSecret}
)


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, so that a name given twice is seen."""


def read_sources(text: str) -> Mapping[str, Scheme]:
    """The scheme of each source, the provider's (V1 unless given) among them.

    `text` is a JSON object of names and descriptions, or empty; ValueError names the source, the
    field and the rule.
    """
    described = _json_object(text) if text.strip() else {}
    sources: dict[str, Scheme] = {PROVIDER: V1}
    for name, description in described.items():
        if not SOURCE.fullmatch(name):
            msg = f"{_shown(name)}: a source's name is a-z, 0-9 and -, at most 32, a letter first"
            raise ValueError(msg)
        try:
            sources[name] = _scheme(description)
        except ValueError as error:
            msg = f"{name}: {error}"
            raise ValueError(msg) from None
    return MappingProxyType(sources)


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_int=float)
    except (json.JSONDecodeError, RecursionError):
        value = None
    return _members(value)


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, _Pairs):
        msg = "must be a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - whatever is wrong with a setting is a ValueError
    members = dict(value)
    if len(members) < len(value):
        msg = "must not give a name twice"
        raise ValueError(msg)
    return members


def _scheme(description: object) -> Scheme:
    given = _members(description)
    word = given.pop("scheme", None)
    if not isinstance(word, str) or word not in (*READY, *DESCRIBED):
        msg = f"scheme must be one of {', '.join((*READY, *DESCRIBED))}"
        raise ValueError(msg)
    kind = DESCRIBED.get(word)
    known = {one.name: one.default is MISSING for one in fields(kind) if one.init} if kind else {}
    for name in given:
        if name not in known:
            msg = f"unknown field {_shown(name)}; known are {', '.join(('scheme', *known))}"
            raise ValueError(msg)
    for name, required in known.items():
        if required and name not in given:
            msg = f"{name} is required"
            raise ValueError(msg)
    return kind(**_texts(given)) if kind else READY[word]


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    texts = {}
    for name, value in given.items():
        if not isinstance(value, str):
            msg = f"{name} must be a string"
            raise ValueError(msg)  # noqa: TRY004 - as above
        texts[name] = value.lower() if name.endswith("header") else value
    return texts


def _shown(name: str) -> str:
    return repr(name[:SHOWN])  # one line, whatever it holds
