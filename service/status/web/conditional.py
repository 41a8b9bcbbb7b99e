"""Conditional and long-polling reads: ETag and If-None-Match (RFC 9110, section 13.1.2),
Prefer: wait (RFC 7240), Retry-After."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.kit.http.headers import Headers
from service.subjects.domain.subject import SubjectView

MAX_WAIT: Final = 60  # seconds; a longer wait counts as this
MAX_LONG_POLL: Final = 55  # seconds; proxies commonly cut what is not answered after 60
MAX_DIGITS: Final = 9  # of a wait; one with more counts as MAX_WAIT
RETRY_AFTER_SHARE: Final = 0.1  # of the age: what has taken long takes longer; our own figure
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1, 30  # seconds; our own figures

# Members of a list, separated by commas. Each character matches in one way only, so no header takes
# long; a quoted string that does not end goes to the end of the line.
_MEMBER: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
_TAGS_MEMBER: Final = re.compile(r'(?:[^",]|"[^"]*(?:"|$))+')  # no escapes: RFC 9110, 8.8.3
# What web servers add to the ETag of a response that they compress, before its last quote or after.
_COMPRESSED: Final = r"(?:-(?:gzip|br|zstd))?"
_TAG: Final = re.compile(rf'(?:W/)?"([!#-~\x80-\xff]*?){_COMPRESSED}"{_COMPRESSED}')
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token: RFC 9110, section 5.6.2
_PREFERENCE: Final = re.compile(
    rf"(?P<name>{_NAME})[ \t]*"
    rf'(?:=[ \t]*(?:(?P<token>{_NAME})|"(?P<quoted>(?:[^"\\]|\\.)*)")?[ \t]*)?(?:;|$)'
)
_ESCAPED: Final = re.compile(r"\\(.)")


def opaque_tag(subject: SubjectView) -> str:
    """What the weak ETag of a subject has between its quotes. It changes with each change of state,
    even one that makes no event (`attempts` rises with every claim, so no ETag comes back), and
    with each warning; not with the position in the queue, nor with `why`."""
    warned = f"-{len(subject.warnings)}" if subject.warnings else ""
    return f"{subject.version}-{subject.state}-{subject.attempts}{warned}"


@dataclass(frozen=True, slots=True)
class IfNoneMatch:
    """The entity tags that an If-None-Match header names."""

    tags: frozenset[str]  # what each has between its quotes
    every: bool = False  # the header is `*`: it matches every tag

    def matches(self, opaque_tag: str) -> bool:
        """Whether it names a tag, given without its quotes. Weak comparison (RFC 9110, section
        8.8.3.2)."""
        return self.every or opaque_tag in self.tags

    def matches_subject(self, subject: SubjectView) -> bool:
        """Whether it names the present ETag of a subject."""
        return self.matches(opaque_tag(subject))

    def or_present(self, subject: SubjectView) -> "IfNoneMatch":
        """Itself; or, if it names no tag, one that names the present ETag of a subject."""
        return self if self.every or self.tags else IfNoneMatch(frozenset({opaque_tag(subject)}))


NO_TAGS: Final = IfNoneMatch(frozenset())


def parse_if_none_match(headers: Headers) -> IfNoneMatch:
    """The If-None-Match header of a request. A member that is not an entity tag is ignored; what a
    web server adds to a tag when it compresses a response is taken off."""
    lines = headers.getlist("if-none-match")
    if not lines:
        return NO_TAGS
    members = list(_members(_TAGS_MEMBER, lines))
    tags = frozenset(match[1] for match in map(_TAG.fullmatch, members) if match)
    return IfNoneMatch(tags, every=members == ["*"])


def preferred_wait(headers: Headers) -> int | None:
    """The seconds of Prefer: wait, from 0 to MAX_WAIT; None if there is none, or it cannot be read
    and so is ignored. The first of several counts (RFC 7240, section 2)."""
    lines = headers.getlist("prefer")
    if not lines:
        return None
    for member in _members(_MEMBER, lines):
        preference = _PREFERENCE.match(member)
        if preference is not None and preference["name"].lower() == "wait":
            value = preference["token"] or _ESCAPED.sub(r"\1", preference["quoted"] or "")
            return _seconds(value)
    return None


def capped_wait(seconds: int) -> int:
    """The seconds that a response is held back, at most, for a caller that would wait so many."""
    return min(seconds, MAX_LONG_POLL)


def retry_after(age: float) -> int:
    """The Retry-After of a subject of this age; both in seconds."""
    return int(min(MAX_RETRY_AFTER, max(MIN_RETRY_AFTER, age * RETRY_AFTER_SHARE)))


def _seconds(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return MAX_WAIT if len(digits) > MAX_DIGITS else min(int(digits or "0"), MAX_WAIT)


def _members(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[str]:
    """The members of a list in a header, which may have several lines."""
    for line in lines:
        for match in pattern.finditer(line):
            if member := match[0].strip(" \t"):
                yield member
