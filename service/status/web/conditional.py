"""What a caller has already, and how long it would wait for something else: If-None-Match
(RFC 9110, section 13.1.2) and Prefer: wait (RFC 7240)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from service.subjects.domain.subject import Subject

MOST_WAIT: Final = 60  # seconds; what is above counts as this
MOST_HELD: Final = 55  # seconds; ours: proxies commonly cut what is not answered after 60
MOST_DIGITS: Final = 9  # of what is read as a number at all
RETRY_SHARE: Final = 0.1  # of its age: what has taken long takes longer; ours
RETRY_LEAST, RETRY_MOST = 1, 30  # seconds; ours

# Members of a list, apart at its commas. Each character has one way to be read, so that no header
# takes long; a quotation that does not end goes to the end.
_MEMBER: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))+')
_TAGS_MEMBER: Final = re.compile(r'(?:[^",]|"[^"]*(?:"|$))+')  # no escapes: RFC 9110, 8.8.3
# What web servers add to the tag of an answer that they compress, before its last quote or behind.
_ADDED: Final = r"(?:-(?:gzip|br|zstd))?"
_TAG: Final = re.compile(rf'(?:W/)?"([!#-~\x80-\xff]*?){_ADDED}"{_ADDED}')
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token: RFC 9110, section 5.6.2
_PREFERENCE: Final = re.compile(
    rf"(?P<name>{_NAME})[ \t]*"
    rf'(?:=[ \t]*(?:(?P<token>{_NAME})|"(?P<quoted>(?:[^"\\]|\\.)*)")?[ \t]*)?(?:;|$)'
)
_ESCAPED: Final = re.compile(r"\\(.)")


def etag(subject: Subject) -> str:
    """Another one after each change of state, also of those that make no event: `attempts` rises
    with every claim, so that none comes back; and after each warning. Weak: a place in the queue is
    no part of it."""
    return f'W/"{_opaque(subject)}"'


def _opaque(subject: Subject) -> str:
    warned = f"-{len(subject.warnings)}" if subject.warnings else ""
    return f"{subject.version}-{subject.state}-{subject.attempts}{warned}"


@dataclass(frozen=True, slots=True)
class IfNoneMatch:
    """What a caller has, by its tags; `every` stands for all there is."""

    tags: frozenset[str]
    every: bool = False

    def includes(self, subject: Subject) -> bool:
        """Whether it has this state of this subject."""
        return self.has(_opaque(subject))

    def has(self, opaque: str) -> bool:
        """What a tag has between its quotes. Compared weakly: RFC 9110, section 8.8.3.2."""
        return self.every or opaque in self.tags

    def or_else(self, subject: Subject) -> "IfNoneMatch":
        """This state, where a caller names none."""
        return self if self.every or self.tags else IfNoneMatch(frozenset({_opaque(subject)}))


def parse_if_none_match(headers: Headers) -> IfNoneMatch:
    """What If-None-Match names. A member that is no tag is none that we gave, and left aside; one
    that a web server has marked as compressed is ours all the same, as no tag of ours ends so."""
    lines = headers.getlist("if-none-match")
    members = list(_members(_TAGS_MEMBER, lines))
    found = map(_TAG.fullmatch, members)
    return IfNoneMatch(frozenset(one[1] for one in found if one), every=members == ["*"])


def wait(headers: Headers) -> int | None:
    """Seconds, from 0 to MOST_WAIT; None if it would not wait, or does not say it well: what is not
    understood is left unheeded, and the first of several counts (RFC 7240, section 2)."""
    for member in _members(_MEMBER, headers.getlist("prefer")):
        found = _PREFERENCE.match(member)
        if found is not None and found["name"].lower() == "wait":
            return _seconds(found["token"] or _ESCAPED.sub(r"\1", found["quoted"] or ""))
    return None


def capped_wait(seconds: int) -> int:
    """For how many seconds an answer is held back, at most, for one who would wait so long."""
    return min(seconds, MOST_HELD)


def retry_after(age: float) -> int:
    """Whole seconds after which something of this age, in seconds, is worth another look."""
    return int(min(RETRY_MOST, max(RETRY_LEAST, age * RETRY_SHARE)))


def _seconds(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return MOST_WAIT if len(digits) > MOST_DIGITS else min(int(digits or "0"), MOST_WAIT)


def _members(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[str]:
    """Those of a header's several lines, as of one."""
    for line in lines:
        for found in pattern.finditer(line):
            if member := found[0].strip(" \t"):
                yield member
