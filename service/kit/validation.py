"""Validation of a request's fields: every error is collected, none is raised before the end.

Each function takes the context that collects errors, the JSON Pointer (RFC 6901) `at` which the
value stands, and the value. It returns the value to keep, to be used only if no error was added.
In messages a field is named by its pointer without the first slash.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from service.kit.errors import FieldError, Invalid
from service.kit.network import url_policy
from service.kit.timestamps import parse_rfc3339

MAX_ERRORS = 100  # of one request; the others are not told
MAX_HINTS = 5  # mistyped names for which the closest known one is suggested
MAX_QUOTED = 64  # characters of a caller's text that a message repeats
MAX_COMPOSED = 4  # code points that NFC can compose into one

URL_START = re.compile(r"https?://", re.IGNORECASE)
VISIBLE = re.compile(r"[!-~]*")


class ValidationContext:
    """The errors and warnings of one request so far, and what its readers put aside."""

    __slots__ = ("attachments", "errors", "hints", "ports", "warnings")

    def __init__(self, ports: Container[int] | None = None) -> None:
        self.ports = ports  # that its URLs may name; None: any
        self.hints = 0  # mistyped names for which the closest known one was sought
        self.errors: list[FieldError] = []  # broken rules, MAX_ERRORS at most
        self.warnings: list[FieldError] = []  # what breaks no rule, but may be a mistake
        self.attachments: dict[str, bytes] = {}  # decoded bytes by their SHA-256 (hex)

    def closest_name(self, unknown: str, known: Collection[str]) -> str | None:
        """The known name that is closest to an unknown one; None if none is close, and after
        MAX_HINTS searches: each takes as long as reading a hundred fields."""
        self.hints += 1
        if self.hints > MAX_HINTS:
            return None
        return next(iter(difflib.get_close_matches(unknown, known, n=1)), None)

    def add_error(self, at: str, code: str, rule: str) -> None:
        """Report a broken rule; `rule` completes a sentence that begins with the field's name."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(FieldError(at, code, f"{at[1:] or 'the request'} {rule}"))

    def warn(self, at: str, code: str, warning: str) -> None:
        """Report what may be a mistake; `warning` completes a sentence that begins with the field's
        name. There is no bound on them: readers warn a handful of times at most."""
        self.warnings.append(FieldError(at, code, f"{at[1:]} {warning}"))

    def raise_errors(self) -> None:
        """Raise Invalid with every error, if there is one."""
        if self.errors:
            raise Invalid(self.errors)


Reader = Callable[[ValidationContext, str, object], Any]  # takes the pointer and the value


def read_object(
    body: object, readers: Mapping[str, Reader], required: Collection[str] = ()
) -> dict[str, Any]:
    """The known fields of a body, each as its reader returns it; Invalid with every error."""
    context = ValidationContext()
    given = body_fields(context, body, readers)
    require(context, "", given, required)
    read = read_fields(context, given, readers)
    context.raise_errors()
    return read


def body_fields(
    context: ValidationContext, body: object, known: Collection[str], *, nulls: bool = False
) -> dict[str, object]:
    """The known fields of a whole body, as `object_fields` returns them; Invalid if the body is no
    JSON object."""
    given = object_fields(context, "", body, known, nulls=nulls)
    if given is None:
        raise Invalid(context.errors)
    return given


def read_fields(
    context: ValidationContext, given: Mapping[str, object], readers: Mapping[str, Reader]
) -> dict[str, Any]:
    """A body's fields, each as its reader returns it; fields without a reader are left out."""
    return {
        name: readers[name](context, f"/{name}", value)
        for name, value in given.items()
        if name in readers
    }


def quotable(text: str) -> str:
    """A caller's text as a message can quote it: cut to MAX_QUOTED characters, and encodable."""
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
    """The known fields of a JSON object; None if it is none. Unknown fields are reported by name,
    with the closest known name.

    A field that is null counts as not given, as typed clients mean it, unless `nulls` keeps it.
    """
    if not isinstance(value, dict):
        context.add_error(at, "wrong_type", "must be a JSON object")
        return None
    for name in islice((name for name in value if name not in known), MAX_ERRORS):
        quoted = quotable(str(name))
        closest = context.closest_name(quoted, known)
        hint = f"; did you mean {closest}?" if closest else ""
        token = quoted.replace("~", "~0").replace("/", "~1")
        context.add_error(f"{at}/{token}", "unknown_field", f"is not a known field{hint}")
    return {
        name: value[name] for name in known if name in value and (nulls or value[name] is not None)
    }


def require(
    context: ValidationContext, at: str, given: Collection[str], names: Collection[str]
) -> None:
    """Report each of `names` that is not among the given fields."""
    for name in names:
        if name not in given:
            context.add_error(f"{at}/{name}", "required", "is required")


def required_object(
    context: ValidationContext, at: str, value: object, names: Collection[str]
) -> dict[str, object]:
    """The fields of an object that must have all of `names` and no others; none if it is not."""
    given = object_fields(context, at, value, names)
    if given is None:
        return {}
    require(context, at, given, names)
    return given


def single_field(
    context: ValidationContext, at: str, value: object, name: str
) -> Iterator[tuple[str, object]]:
    """Pointer and value of the only field that an object must have; nothing if it is missing."""
    for field in required_object(context, at, value, (name,)).values():
        yield f"{at}/{name}", field


def list_items(
    context: ValidationContext, at: str, value: object, allowed: range
) -> Iterator[tuple[str, object]]:
    """Pointer and value of each entry of an array, of no more than the allowed number of them."""
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
    """A JSON string; None if it is something else."""
    if isinstance(value, str):
        return value
    context.add_error(at, "wrong_type", "must be a string")
    return None


def one_of(
    context: ValidationContext, at: str, value: object, allowed: Collection[str]
) -> str | None:
    """One of the allowed words; None if it is none."""
    word = string(context, at, value)
    if word is None or word in allowed:
        return word
    context.add_error(
        at, "not_allowed", f'must be one of {", ".join(allowed)}; not "{quotable(word)}"'
    )
    return None


def text(context: ValidationContext, at: str, value: object, limit: int) -> str | None:
    """Text in NFC of 1 to `limit` code points, not all of them blank, none a control character;
    None if it is no string."""
    text = normalized_text(context, at, value, limit)
    if text is not None and not text.strip():
        context.add_error(at, "blank", f"must have 1 to {limit} characters, not all of them blank")
    return text


def normalized_text(context: ValidationContext, at: str, value: object, limit: int) -> str | None:
    """Text in NFC of at most `limit` code points, none a control character; None if it is no
    string."""
    raw = string(context, at, value)
    if raw is None:
        return None
    # Composing what cannot fit anyway would take quadratic time on a run of accents.
    if len(raw) > limit * MAX_COMPOSED or len(unicodedata.normalize("NFC", raw)) > limit:
        context.add_error(at, "too_long", f"must have at most {limit} characters")
        raw = raw[: limit * MAX_COMPOSED]
    if not raw.isprintable():  # which most texts are, and no text with either of these
        kinds = {unicodedata.category(character) for character in raw}
        if "Cc" in kinds:
            context.add_error(at, "control_character", "must not contain control characters")
        if "Cs" in kinds:
            context.add_error(at, "not_unicode", "must not contain half a surrogate pair")
    return unicodedata.normalize("NFC", raw)


def time(context: ValidationContext, at: str, value: object) -> datetime | None:
    """A time with its zone, in UTC; None if it is none."""
    text = string(context, at, value)
    moment = None if text is None else parse_rfc3339(text)
    if moment is None and text is not None:
        rule = "must be an RFC 3339 time with a zone, as 2026-01-02T03:04:05.678Z"
        context.add_error(at, "not_a_time", rule)
    return moment


def ascii_text(context: ValidationContext, at: str, value: object, allowed: range) -> str | None:
    """A string of visible ASCII characters, no spaces, as many as allowed; None if it is none."""
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
    """An absolute http or https URL; None if it is no string. Its address is checked only when it
    is dialled: see `kit/network/ssrf_guard.py`."""
    url = string(context, at, value)
    if url is None:
        return None
    for error in url_policy.check_url(
        url, pointer=at, https_only=False, allowed=(), ports=context.ports
    ):
        if error.code != "url_address":
            context.add_error(at, error.code, error.message)
    return url
