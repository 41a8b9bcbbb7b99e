"""A story as it is read from a file, to be played back. Only what playing needs is read; anything
may stand in a file, so all of it is bounded."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from service.kit.errors import FieldError, Invalid
from service.story.domain.moves import Move
from service.subjects.domain.lifecycle import Ignored, Signal, State

MAX_FILE: Final = 20_000_000  # bytes; the greatest story has half of that
MAX_ENTRIES: Final = 1000  # of a list

Word = Annotated[str, Meta(max_length=64)]
Moment = Annotated[datetime, Meta(tz=True)]
Code = Annotated[int, Meta(ge=-999_999_999, le=999_999_999)]


class PlayedSignal(Struct, frozen=True):
    """A signal of a story. What it does not say is None."""

    at: Moment  # when it was learnt; of a move, when it was made
    source: Word | None = None  # None: it only counts those that are left out
    sent_at: Moment | None = None
    signal: Signal | None = None
    before: State | None = None
    after: State | None = None
    ignored: Ignored | None = None
    outcome: Word | None = None
    status: Word | None = None  # the provider's word
    provider_at: Moment | None = None
    code: Code | None = None
    verdict: Word | None = None  # of a callback
    verification: Word | None = None  # of a callback
    times_received: Annotated[int, Meta(ge=1)] = 1  # of a callback


class PlayedMedium(Struct, frozen=True):
    """A picture or a film of the request."""

    field: Word
    given_by: Literal["address", "content"]


class PlayedSubject(Struct, frozen=True):
    """The subject of a story."""

    reference_type: Literal["image_refer", "video_refer"] | None
    created_at: Moment
    attempts: Annotated[int, Meta(ge=0)]
    media: Annotated[list[PlayedMedium], Meta(max_length=MAX_ENTRIES)]


class StoryFile(Struct, frozen=True):
    """A story, as far as it is played back."""

    format: Literal[1]  # document.FORMAT
    subject: PlayedSubject
    moves: Annotated[list[Move], Meta(max_length=MAX_ENTRIES)]
    signals: Annotated[list[PlayedSignal], Meta(max_length=MAX_ENTRIES)]


def read_story(raw: bytes) -> StoryFile:
    """Read a file; Invalid, which names the member and the rule, if it is no story, or one of which
    too little is kept to be played."""
    if len(raw) > MAX_FILE:
        raise Invalid([FieldError("", "too_long", f"the story has more than {MAX_FILE} bytes")])
    try:
        story = msgspec.json.decode(raw, type=StoryFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        rule, _, place = str(error).partition(" - at ")
        member = place.strip("`") or "$"
        raise Invalid([FieldError(member, "story", f"the story's {member}: {rule}")]) from None
    if any(move.signal is None for move in story.moves):
        rule = "the story's $.moves: what led to them was pruned or erased"
        raise Invalid([FieldError("$.moves", "story", rule)])
    return story
