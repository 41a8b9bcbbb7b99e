"""Traces: each piece of work is a trace of its own, seconds long, with one span, which is linked to
the span that accepted its subject. One trace over a subject's whole life would be hours long.

Nothing is traced unless kit/opentelemetry_spans.py is told to, and then this costs nothing.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Span:
    """A span of what is not traced: all that is said of it is lost."""

    recording: bool = False  # whether anything that is said of it is kept
    traceparent: str | None = None  # as W3C Trace Context writes it; None: it is not recorded

    def set(self, **attributes: str | float | None) -> None:
        """Say more of it, under names to which `callsheet.` is added; None says nothing."""

    def link(self, subject_id: str, traceparent: str | None) -> None:
        """Say which subject it is about, and link it to the span of this `traceparent`; None: that
        one is not known."""

    def fail(self, reason: str) -> None:
        """Say that the work failed for good. What is tried again by itself has not."""


class SpanMaker(Protocol):
    """Makes spans, as `span` does."""

    def __call__(
        self, name: str, *, server: bool, headers: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """A span while the context lasts."""


_NO_SPAN: Final = nullcontext(Span())
_NO_HEADERS: Final[Mapping[str, str]] = {}
_make: SpanMaker | None = None


def span(
    name: str, *, server: bool = False, headers: Mapping[str, str] = _NO_HEADERS
) -> AbstractContextManager[Span]:
    """A span of this name while the context lasts: the first of a new trace, or a child of the one
    that the `traceparent` of `headers` names. `server` says that it answers a request; else it
    makes one. An error that is raised marks it as failed, by its type alone."""
    return _NO_SPAN if _make is None else _make(name, server=server, headers=headers)


def use_spans(make: SpanMaker | None) -> None:
    """Make spans by `make` from now on, in all of this process; None: make none."""
    global _make  # noqa: PLW0603 - a process has one, as it has one set of metrics
    _make = make
