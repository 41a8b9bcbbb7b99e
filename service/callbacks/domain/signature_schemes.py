"""Signature verification schemes: how each kind of source signs its callbacks.

A scheme is checked once, when it is made from the settings, and never guessed from a request. The
kinds are those of rules P74 and P77 of service/provider/README.md. ValueError names field and rule.
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

HEADER_NAME = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,64}")  # a token of RFC 9110, but for %
LABEL = re.compile(r"[ -~]{0,64}")
SEPARATOR = re.compile(r"[ -~]{1,8}")
SIGNATURE_CHARACTER = re.compile(r"[0-9A-Za-z+/=]")  # of Base64 and hex
TEMPLATE = re.compile(r"[\t\n\r -~]{1,1000}")
PLACEHOLDER = re.compile(r"(\{[^{}]*\})")
HEADER_PLACEHOLDER = "header:"
PLACEHOLDERS = ("id", "timestamp", "body", "body_sha256", "task_id")
IDENTIFYING_PLACEHOLDERS = frozenset(("id", "body", "body_sha256", "task_id"))
PLAIN_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")  # stored in clear

ENCODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {"base64": partial(binascii.b2a_base64, newline=False), "hex": binascii.hexlify}
)
DECODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {"base64": binascii.a2b_base64, "hex": binascii.unhexlify}
)
DIGESTS = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled `signed` text: `content_format % values` gives the bytes that are signed."""

    content_format: bytes  # %(name)b stands for each placeholder
    names: frozenset[str]  # the placeholders; that of a header is "header:" and its name

    @property
    def headers(self) -> list[str]:
        """The names of the headers that it has placeholders for, lower-case."""
        names = (name for name in self.names if name.startswith(HEADER_PLACEHOLDER))
        return [name.removeprefix(HEADER_PLACEHOLDER) for name in names]


def compile_template(text: str) -> Template:
    """Compile a text with placeholders: {id}, {timestamp}, {body}, {body_sha256}, {task_id} and
    {header:NAME}. ValueError if it has others, or none that tells one message from another."""
    require(TEMPLATE.fullmatch(text), "signed must be 1 to 1000 ASCII characters")
    parts, names = [], set()
    for part in PLACEHOLDER.split(text):
        if PLACEHOLDER.fullmatch(part):
            name = _placeholder(part)
            names.add(name)
            parts.append(f"%({name})b")
        else:
            rule = "signed: a brace stands only around the name of a placeholder"
            require("{" not in part and "}" not in part, rule)
            parts.append(part.replace("%", "%%"))
    rule = "signed must name one of {body}, {body_sha256}, {task_id}, {id}"
    require(names & IDENTIFYING_PLACEHOLDERS, rule)
    return Template("".join(parts).encode(), frozenset(names))


def _placeholder(part: str) -> str:
    name = part[1:-1]
    header = name.removeprefix(HEADER_PLACEHOLDER).lower()
    if name.startswith(HEADER_PLACEHOLDER) and HEADER_NAME.fullmatch(header):
        return HEADER_PLACEHOLDER + header
    known = ", ".join(f"{{{placeholder}}}" for placeholder in (*PLACEHOLDERS, "header:NAME"))
    require(name in PLACEHOLDERS, f"signed: {part[:64]!r} is none of {known}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureScheme:
    """Signatures in a header, over the bytes that the template `signed` gives.

    An id or a timestamp that no signature covers would let anybody pass off one message as another:
    so `signed` must name both. Without a timestamp, only deduplication protects against replay.
    """

    key_readers: ClassVar[Mapping[str, KeyParser]]  # by what `key` may be
    stored_as: ClassVar[str]  # the scheme's name in encryption contexts: a persisted label

    signature_header: str  # the header that has the signatures; header names are lower-case
    signed: str  # the template of what is signed
    encoding: str  # how a signature is written: a key of ENCODERS
    key: str  # how the secret or public key is written: a key of `key_readers`
    id_header: str = ""  # the header that has the message id; empty: none
    timestamp_header: str = ""  # the header that has the time of sending; empty: none
    label: str = ""  # what stands before each signature, as "v1,"
    separator: str = " "  # what stands between two signatures
    template: Template = field(init=False, repr=False, compare=False)  # `signed`, compiled

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", compile_template(self.signed))
        _check_header_name("signature_header", self.signature_header)
        self._check_covered("id", self.id_header)
        self._check_covered("timestamp", self.timestamp_header)
        _check_choice("encoding", self.encoding, ENCODERS)
        _check_choice("key", self.key, self.key_readers)
        self._check_label_and_separator()

    @property
    def covers_body(self) -> bool:
        """Whether the body is signed; if it is not, a callback is only a hint (rule P78)."""
        return not self.template.names.isdisjoint(("body", "body_sha256"))

    @property
    def signs_task_id(self) -> bool:
        """Whether the body must be read before its signature can be checked."""
        return "task_id" in self.template.names

    def _check_covered(self, name: str, header: str) -> None:
        if header:
            _check_header_name(f"{name}_header", header)
        rule = f"signed must name {{{name}}} if, and only if, {name}_header is given"
        require(bool(header) == (name in self.template.names), rule)

    def _check_label_and_separator(self) -> None:
        require(LABEL.fullmatch(self.label), "label must be at most 64 ASCII characters")
        rule = "separator must be 1 to 8 ASCII characters, none a letter, digit, +, / or ="
        require(SEPARATOR.fullmatch(self.separator), rule)
        require(not SIGNATURE_CHARACTER.search(self.separator), rule)
        require(self.separator not in self.label, "label must not contain the separator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac(SignatureScheme):
    """HMAC under a secret that is written as whsec, base64, hex or text."""

    key_readers: ClassVar = SECRET_PARSERS  # by what `key` may be
    stored_as: ClassVar = "Hmac"  # a persisted label

    digest: str = "sha256"  # one of DIGESTS

    def __post_init__(self) -> None:
        SignatureScheme.__post_init__(self)  # super() does not work in a dataclass with slots
        _check_choice("digest", self.digest, DIGESTS)

    def matches(self, key: bytes, content: bytes, signatures: Collection[bytes]) -> bool:
        """Whether one of the signatures is that of `content` under this secret."""
        expected = ENCODERS[self.encoding](hmac.digest(key, content, self.digest))
        for signature in signatures:  # noqa: SIM110 - any() makes a generator for every callback
            if hmac.compare_digest(expected, signature):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ed25519(SignatureScheme):
    """Ed25519 under a public key that is written as whpk, base64 or hex."""

    key_readers: ClassVar = PUBLIC_KEY_PARSERS  # by what `key` may be
    stored_as: ClassVar = "Ed25519"  # a persisted label

    def matches(self, key: bytes, content: bytes, signatures: Collection[bytes]) -> bool:
        """Whether one of the signatures is of `content` and by this public key's owner."""
        try:
            public_key = Ed25519PublicKey.from_public_bytes(key)
        except ValueError:  # stored when this source's scheme was another
            return False
        return any(self._is_valid(public_key, content, signature) for signature in signatures)

    def _is_valid(self, public_key: Ed25519PublicKey, content: bytes, signature: bytes) -> bool:
        try:
            raw = DECODERS[self.encoding](signature)
            public_key.verify(raw, content)
        except (ValueError, InvalidSignature):
            return False
        # Base64 can spell the same bytes in many ways.
        return ENCODERS[self.encoding](raw) == signature


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecret:
    """A header that holds the secret itself: it says who sent a callback, and not what."""

    header: str = "x-webhook-secret"  # lower-case
    prefix: str = ""  # what stands before the secret, as "Bearer "

    covers_body: ClassVar = False  # as in SignatureScheme
    signs_task_id: ClassVar = False  # as in SignatureScheme
    stored_as: ClassVar = "SharedSecret"  # a persisted label

    def __post_init__(self) -> None:
        _check_header_name("header", self.header)
        rule = f"header must not be {self.header}, which is stored as it came"
        require(self.header not in PLAIN_HEADERS, rule)
        require(LABEL.fullmatch(self.prefix), "prefix must be at most 64 ASCII characters")


@dataclass(frozen=True, slots=True)
class Unsigned:
    """No signature: whoever knows the address may send."""

    covers_body: ClassVar = False  # as in SignatureScheme
    signs_task_id: ClassVar = False  # as in SignatureScheme
    stored_as: ClassVar = "Unsigned"  # a persisted label


Scheme = Hmac | Ed25519 | SharedSecret | Unsigned


def require(condition: object, rule: str) -> None:
    """ValueError with this rule, unless the condition holds."""
    if not condition:
        raise ValueError(rule)


def _check_header_name(field_name: str, text: str) -> None:
    require(HEADER_NAME.fullmatch(text), f"{field_name} must be a header name")


def _check_choice(field_name: str, word: str, words: Collection[str]) -> None:
    require(word in words, f"{field_name} must be one of {', '.join(words)}")


STANDARD_WEBHOOKS = {
    "id_header": "webhook-id",
    "timestamp_header": "webhook-timestamp",
    "signature_header": "webhook-signature",
    "signed": "{id}.{timestamp}.{body}",
    "encoding": "base64",
}
V1 = Hmac(**STANDARD_WEBHOOKS, label="v1,", key="whsec")
V1A = Ed25519(**STANDARD_WEBHOOKS, label="v1a,", key="whpk")
UNSIGNED = Unsigned()


def read_secret(scheme: Scheme, text: str) -> bytes:
    """The bytes of a secret or public key that is written as the scheme wants it; ValueError says
    the rule, never the text."""
    match scheme:
        case Hmac() | Ed25519():
            return scheme.key_readers[scheme.key](text)
        case SharedSecret():
            return parse_plain_text(text)
        case Unsigned():
            msg = "an unsigned source has no secret"
            raise ValueError(msg)
