"""Validating the fields of a request one by one; what is wrong is collected, not raised.

A pointer (RFC 6901) says where a value stands; without its first slash it is the field's name in
messages. What a reader gives back is the value to keep, and good only if nothing was reported.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from itertools import islice
from typing import Any

from service.kit.errors import FieldError, Invalid
from service.kit.network import url_policy

MAX_ERRORS = 100  # a body of a million mistakes is told of the first hundred
MAX_HINTS = 5  # mistyped names of which the right one is said
MAX_QUOTED = 64  # characters of a caller's own text repeated in a message
MAX_COMPOSED = 4  # code points that one composed character stands for, at most

URL_START = re.compile(r"https?://", re.IGNORECASE)
VISIBLE = re.compile(r"[!-~]*")


class ValidationContext:
    """What one request has shown so far."""

    __slots__ = ("attachments", "errors", "hints", "ports", "warnings")

    def __init__(self, ports: Container[int] | None = None) -> None:
        self.ports = ports  # those that its URLs may name; None: any
        self.hints = 0  # mistyped names for which the right one was sought
        self.errors: list[FieldError] = []  # the broken rules, MAX_ERRORS at most
        self.warnings: list[FieldError] = []  # what breaks no rule, and may not be meant
        self.attachments: dict[str, bytes] = {}  # inline images by their SHA-256 (hex)

    def closest_name(self, stranger: str, known: Collection[str]) -> str | None:
        """The known name that is most like a strange one. Only a few are sought: each takes as long
        as reading a hundred fields does."""
        self.hints += 1
        if self.hints > MAX_HINTS:
            return None
        return next(iter(difflib.get_close_matches(stranger, known, n=1)), None)

    def add_error(self, at: str, code: str, rule: str) -> None:
        """`rule` completes the sentence that begins with the field's name."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(FieldError(at, code, f"{at[1:] or 'the request'} {rule}"))

    def warn(self, at: str, code: str, what: str) -> None:
        """`what` completes such a sentence too. A request has a handful of these at most."""
        self.warnings.append(FieldError(at, code, f"{at[1:]} {what}"))

    def raise_errors(self) -> None:
        """Invalid with every error, if there is one."""
        if self.errors:
            raise Invalid(self.errors)


Reader = Callable[[ValidationContext, str, object], Any]  # of a value and the pointer to it


def read_object(
    body: object, readers: Mapping[str, Reader], required: Collection[str] = ()
) -> dict[str, Any]:
    """The members that a body gives, each as its reader makes it. Invalid with every error."""
    context = ValidationContext()
    given = body_fields(context, body, readers)
    require(context, "", given, required)
    read = read_fields(context, given, readers)
    context.raise_errors()
    return read


def body_fields(
    context: ValidationContext, body: object, known: Collection[str], *, nulls: bool = False
) -> dict[str, object]:
    """The known members of a whole body, as `members` gives them; Invalid if it is no object."""
    given = object_fields(context, "", body, known, nulls=nulls)
    if given is None:
        raise Invalid(context.errors)
    return given


def read_fields(
    context: ValidationContext, given: Mapping[str, object], readers: Mapping[str, Reader]
) -> dict[str, Any]:
    """A body's members, each as its reader makes it; those that have no reader are left out."""
    return {
        name: readers[name](context, f"/{name}", value)
        for name, value in given.items()
        if name in readers
    }


def quotable(text: str) -> str:
    """A caller's text made fit for a message: short, and without what no encoder takes."""
    cut = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


def object_fields(
    context: ValidationContext,
    at: str,
    value: object,
    known: Collection[str],
    *,
    nulls: bool = False,
) -> dict[str, object] | None:
    """The known members of an object; others are reported by name, with the nearest known one.

    A member that is null is not set, as typed clients write it, unless `nulls` asks for it.
    """
    if not isinstance(value, dict):
        context.add_error(at, "wrong_type", "must be a JSON object")
        return None
    for name in islice((name for name in value if name not in known), MAX_ERRORS):
        stranger = quotable(str(name))
        near = context.closest_name(stranger, known)
        hint = f"; did you mean {near}?" if near else ""
        token = stranger.replace("~", "~0").replace("/", "~1")
        context.add_error(f"{at}/{token}", "unknown_field", f"is not a known field{hint}")
    given = {name: value[name] for name in known if name in value}
    return {name: member for name, member in given.items() if nulls or member is not None}


def require(
    context: ValidationContext, at: str, given: Collection[str], names: Collection[str]
) -> None:
    """Report each of `names` that was not given."""
    for name in names:
        if name not in given:
            context.add_error(f"{at}/{name}", "required", "is required")


def required_object(
    context: ValidationContext, at: str, value: object, names: Collection[str]
) -> dict[str, object]:
    """The members of an object that must have all of `names` and no others."""
    given = object_fields(context, at, value, names)
    if given is None:
        return {}
    require(context, at, given, names)
    return given


def single_field(
    context: ValidationContext, at: str, value: object, name: str
) -> Iterator[tuple[str, object]]:
    """Pointer and value of the one member an object must have; nothing if it has not."""
    for member in required_object(context, at, value, (name,)).values():
        yield f"{at}/{name}", member


def list_items(
    context: ValidationContext, at: str, value: object, allowed: range
) -> Iterator[tuple[str, object]]:
    """Pointer and value of each entry of an array; past the allowed number none is looked at."""
    if not isinstance(value, list):
        context.add_error(at, "wrong_type", "must be an array")
        return
    if len(value) not in allowed:
        code = "too_few" if len(value) < allowed[0] else "too_many"
        context.add_error(at, code, f"must have {_span(allowed)} entries, not {len(value)}")
    for index, entry in enumerate(islice(value, allowed[-1])):
        yield f"{at}/{index}", entry


def _span(allowed: range) -> str:
    return f"{allowed[0]} to {allowed[-1]}" if len(allowed) > 1 else f"exactly {allowed[0]}"


def string(context: ValidationContext, at: str, value: object) -> str | None:
    """A JSON string."""
    if isinstance(value, str):
        return value
    context.add_error(at, "wrong_type", "must be a string")
    return None


def one_of(
    context: ValidationContext, at: str, value: object, allowed: Collection[str]
) -> str | None:
    """One of a few words."""
    word = string(context, at, value)
    if word is None or word in allowed:
        return word
    context.add_error(
        at, "not_allowed", f'must be one of {", ".join(allowed)}; not "{quotable(word)}"'
    )
    return None


def text(context: ValidationContext, at: str, value: object, limit: int) -> str | None:
    """1 to `limit` code points after NFC, not all of them blank, none a control character; given
    back in NFC."""
    text = normalized_text(context, at, value, limit)
    if text is not None and not text.strip():
        context.add_error(at, "blank", f"must have 1 to {limit} characters, not all of them blank")
    return text


def normalized_text(context: ValidationContext, at: str, value: object, limit: int) -> str | None:
    """At most `limit` code points after NFC, none a control character; given back in NFC."""
    raw = string(context, at, value)
    if raw is None:
        return None
    # Composing what cannot fit anyway would take quadratic time on a run of accents.
    if len(raw) > limit * MAX_COMPOSED or len(unicodedata.normalize("NFC", raw)) > limit:
        context.add_error(at, "too_long", f"must have at most {limit} characters")
        raw = raw[: limit * MAX_COMPOSED]
    kinds = {unicodedata.category(character) for character in raw}
    if "Cc" in kinds:
        context.add_error(at, "control_character", "must not contain control characters")
    if "Cs" in kinds:
        context.add_error(at, "not_unicode", "must not contain half a surrogate pair")
    return unicodedata.normalize("NFC", raw)


def ascii_text(context: ValidationContext, at: str, value: object, allowed: range) -> str | None:
    """A string of so many visible ASCII characters: no space, nothing that needs an encoding."""
    word = string(context, at, value)
    if word is None:
        return None
    if len(word) not in allowed:
        code = "too_short" if len(word) < allowed[0] else "too_long"
        context.add_error(at, code, f"must have {_span(allowed)} characters")
    if not VISIBLE.fullmatch(word):
        context.add_error(at, "not_visible", "must have visible ASCII characters only, no spaces")
    return word


def url(context: ValidationContext, at: str, value: object) -> str | None:
    """An absolute http or https URL; the address behind it is judged when it is dialled."""
    url = string(context, at, value)
    if url is None:
        return None
    for flaw in url_policy.check_url(
        url, pointer=at, https_only=False, allowed=(), ports=context.ports
    ):
        if flaw.code != "url_address":
            context.add_error(at, flaw.code, f"is not a usable URL: {flaw.message}")
    return url
