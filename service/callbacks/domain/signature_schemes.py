"""Descriptions of how a source signs: checked once, when they are made, and never sniffed.

The kinds are those of rules P74 and P77. ValueError names the field and the rule.
"""

import binascii
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.kit.crypto.key_formats import (
    PUBLIC_KEY_PARSERS,
    SECRET_PARSERS,
    KeyParser,
    parse_plain_text,
)

HEADER = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,64}")  # RFC 9110, section 5.1, without %
AFFIX = re.compile(r"[ -~]{0,64}")
SEPARATOR = re.compile(r"[ -~]{1,8}")
ENCODED = re.compile(r"[0-9A-Za-z+/=]")  # what a signature is written with
TEMPLATE = re.compile(r"[\t\n\r -~]{1,1000}")
PLACEHOLDER = re.compile(r"(\{[^{}]*\})")
HEADER_PLACEHOLDER = "header:"
PLAIN_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")  # kept in clear
GIVEN = frozenset(("id", "timestamp", "body"))  # values at hand for every message
SUBJECTS = frozenset(("id", "body", "body_sha256", "task_id"))  # one message is told by them
PLACEHOLDERS = ("id", "timestamp", "body", "body_sha256", "task_id")

ENCODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {"base64": partial(binascii.b2a_base64, newline=False), "hex": binascii.hexlify}
)
DECODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {"base64": binascii.a2b_base64, "hex": binascii.unhexlify}
)
DIGESTS = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: `frame % values` is what is signed; `names` are its placeholders."""

    frame: bytes
    names: frozenset[str]

    @property
    def headers(self) -> list[str]:
        """The headers it names, lower-case."""
        names = (name for name in self.names if name.startswith(HEADER_PLACEHOLDER))
        return [name.removeprefix(HEADER_PLACEHOLDER) for name in names]


def compile_template(text: str) -> Template:
    """The template of a text with placeholders: {id}, {timestamp}, …, {header:NAME}."""
    if not TEMPLATE.fullmatch(text):
        msg = "signed must be 1 to 1000 ASCII characters"
        raise ValueError(msg)
    frame, names = [], set()
    for part in PLACEHOLDER.split(text):
        if PLACEHOLDER.fullmatch(part):
            name = _placeholder(part)
            names.add(name)
            frame.append(f"%({name})b")
        else:
            frame.append(_literal(part))
    if names.isdisjoint(SUBJECTS):
        msg = "signed must name one of {body}, {body_sha256}, {task_id}, {id}"
        raise ValueError(msg)
    return Template("".join(frame).encode(), frozenset(names))


def _placeholder(part: str) -> str:
    name = part[1:-1]
    header = name.removeprefix(HEADER_PLACEHOLDER).lower()
    if name.startswith(HEADER_PLACEHOLDER) and HEADER.fullmatch(header):
        return HEADER_PLACEHOLDER + header
    if name not in PLACEHOLDERS:
        known = ", ".join(f"{{{one}}}" for one in (*PLACEHOLDERS, "header:NAME"))
        msg = f"signed: {part[:64]!r} is none of {known}"
        raise ValueError(msg)
    return name


def _literal(part: str) -> str:
    if "{" in part or "}" in part:
        msg = "signed: a brace stands only around the name of a placeholder"
        raise ValueError(msg)
    return part.replace("%", "%%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Signatures in a header: `label` before each, `separator` between them, over `signed`.

    `stored_as` is the scheme's name in what is stored: it stays as it is, whatever the class is
    called. `key` says how a secret is written. Header names are lower-case, empty where there is
    none. An id or a timestamp that were believed though no signature covers them would let anybody
    pass off a message as another, so `signed` must name both. Without a timestamp nothing but
    deduplication holds off a replay.
    """

    key_readers: ClassVar[Mapping[str, KeyParser]]
    stored_as: ClassVar[str]

    signature_header: str
    signed: str
    encoding: str
    key: str
    id_header: str = ""
    timestamp_header: str = ""
    label: str = ""
    separator: str = " "
    template: Template = field(init=False, repr=False, compare=False)
    further: frozenset[str] = field(init=False, repr=False, compare=False)
    covers_body: bool = field(init=False, repr=False, compare=False)  # if not, it is only a hint
    reads_body: bool = field(init=False, repr=False, compare=False)  # the task it names is signed

    def __post_init__(self) -> None:
        template = compile_template(self.signed)
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "further", template.names - GIVEN)
        covered = template.names & {"body", "body_sha256"}
        object.__setattr__(self, "covers_body", bool(covered))
        object.__setattr__(self, "reads_body", "task_id" in template.names)
        _check(HEADER, self.signature_header, "signature_header must be a header name")
        self._check_named("id", self.id_header)
        self._check_named("timestamp", self.timestamp_header)
        _check_choice("encoding", self.encoding, ENCODERS)
        _check_choice("key", self.key, self.key_readers)
        self._check_list()

    def _check_named(self, name: str, header: str) -> None:
        if header:
            _check(HEADER, header, f"{name}_header must be a header name")
        if bool(header) != (name in self.template.names):
            msg = f"signed must name {{{name}}} if, and only if, {name}_header is given"
            raise ValueError(msg)

    def _check_list(self) -> None:
        _check(AFFIX, self.label, "label must be at most 64 ASCII characters")
        if not SEPARATOR.fullmatch(self.separator) or ENCODED.search(self.separator):
            msg = "separator must be 1 to 8 ASCII characters, none a letter, digit, +, / or ="
            raise ValueError(msg)
        if self.separator in self.label:
            msg = "label must not contain the separator"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac(Signed):
    """An HMAC under a secret that is written as whsec, base64, hex or text."""

    key_readers: ClassVar = SECRET_PARSERS
    stored_as: ClassVar = "Hmac"

    digest: str = "sha256"

    def __post_init__(self) -> None:
        Signed.__post_init__(self)  # super() does not work in a dataclass with slots
        _check_choice("digest", self.digest, DIGESTS)

    def matches(self, key: bytes, content: bytes, offered: Collection[bytes]) -> bool:
        """Whether one of the offered signatures is that of `content`."""
        expected = ENCODERS[self.encoding](hmac.digest(key, content, self.digest))
        for one in offered:  # noqa: SIM110 - any() makes a generator for every callback
            if hmac.compare_digest(expected, one):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ed25519(Signed):
    """An ed25519 signature under a public key that is written as whpk, base64 or hex."""

    key_readers: ClassVar = PUBLIC_KEY_PARSERS
    stored_as: ClassVar = "Ed25519"

    def matches(self, key: bytes, content: bytes, offered: Collection[bytes]) -> bool:
        """Whether one of the offered signatures is of `content`."""
        try:
            public = Ed25519PublicKey.from_public_bytes(key)
        except ValueError:  # kept from when this source was described otherwise
            return False
        return any(self._holds(public, content, one) for one in offered)

    def _holds(self, public: Ed25519PublicKey, content: bytes, one: bytes) -> bool:
        try:
            raw = DECODERS[self.encoding](one)
            public.verify(raw, content)
        except (ValueError, InvalidSignature):
            return False
        return ENCODERS[self.encoding](raw) == one  # Base64 can spell the same bytes in many ways


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecret:
    """A header that holds the secret itself, after `prefix`: it says who sent, and not what."""

    header: str = "x-webhook-secret"
    prefix: str = ""

    covers_body: ClassVar = False
    reads_body: ClassVar = False
    stored_as: ClassVar = "SharedSecret"

    def __post_init__(self) -> None:
        _check(HEADER, self.header, "header must be a header name")
        if self.header in PLAIN_HEADERS:
            msg = f"header must not be {self.header}, which is kept as it came"
            raise ValueError(msg)
        _check(AFFIX, self.prefix, "prefix must be at most 64 ASCII characters")


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Nothing: whoever knows the address may send."""

    covers_body: ClassVar = False
    reads_body: ClassVar = False
    stored_as: ClassVar = "Unsigned"


Scheme = Hmac | Ed25519 | SharedSecret | Unsigned


def _check(pattern: re.Pattern[str], text: str, rule: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(rule)


def _check_choice(name: str, word: str, words: Collection[str]) -> None:
    if word not in words:
        msg = f"{name} must be one of {', '.join(words)}"
        raise ValueError(msg)


V1 = Hmac(
    id_header="webhook-id",
    timestamp_header="webhook-timestamp",
    signature_header="webhook-signature",
    signed="{id}.{timestamp}.{body}",
    encoding="base64",
    label="v1,",
    key="whsec",
)
V1A = Ed25519(
    id_header="webhook-id",
    timestamp_header="webhook-timestamp",
    signature_header="webhook-signature",
    signed="{id}.{timestamp}.{body}",
    encoding="base64",
    label="v1a,",
    key="whpk",
)
UNSIGNED = Unsigned()


def read_secret(scheme: Scheme, text: str) -> bytes:
    """The bytes of a secret or public key; ValueError says the scheme's rule, never the text."""
    match scheme:
        case Hmac() | Ed25519():
            return scheme.key_readers[scheme.key](text)
        case SharedSecret():
            return parse_plain_text(text)
        case Unsigned():
            msg = "an unsigned source has no secret"
            raise ValueError(msg)
