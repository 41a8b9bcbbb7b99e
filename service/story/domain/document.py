"""The story as a document: format 1. Its members are those of the schema Story in
service/openapi/openapi.yaml."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from service.callbacks.domain.verdicts import Verdict
from service.kit.timestamps import format_rfc3339
from service.provider.domain.report_to_signal import SIGNAL_OF_STATUS
from service.provider.domain.task_reports import STATUS_WORDS
from service.story.domain import redaction
from service.story.domain.moves import Move, ToldMove, moves_of
from service.subjects.domain.event import SUBJECT_EVENT_TYPES
from service.subjects.domain.lifecycle import State
from service.subjects.domain.signal_record import known_word

FORMAT: Final = 1
_STATE_OF_TYPE: Final = {type_: state for state, type_ in SUBJECT_EVENT_TYPES.items()}

Columns = Mapping[str, Any]  # a row, by the names of its columns
Json = dict[str, Any]


class Kept(Struct, frozen=True):
    """What is kept of a subject: rows as story/store/story.py reads them."""

    subject: Columns
    callbacks: Sequence[Columns]
    events: Sequence[Columns]
    deliveries: Sequence[Columns]
    attempts: Sequence[Columns]
    truncated: bool  # whether there is more than was read


class Teller(Struct, frozen=True):
    """Who tells the story, and under which settings it happened."""

    made_at: datetime
    version: str  # of the service
    settings: Mapping[str, Any]  # the members of the story's `settings`
    signature_headers: Mapping[str, str]  # by the names of sources


def story(kept: Kept, teller: Teller) -> Json:
    """The story of a subject, as far as it has come."""
    entries = kept.subject["signals"] or []
    moves = _moves(kept, entries)
    callbacks = [_callback(row, teller.signature_headers) for row in kept.callbacks]
    return {
        "format": FORMAT,
        "made_at": format_rfc3339(teller.made_at),
        "service_version": teller.version,
        "truncated": kept.truncated,
        "settings": dict(teller.settings),
        "subject": _subject(kept.subject),
        "moves": [msgspec.to_builtins(move) for move in moves],
        "signals": sorted([*_kept_signals(entries), *callbacks], key=_learnt_at),
        "events": [_event(row) for row in kept.events],
        "deliveries": _deliveries(kept),
    }


def _kept_signals(entries: Sequence[Json]) -> list[Json]:
    """The kept signals; the entry that only counts those left out has the time of the one before
    it."""
    shown: list[Json] = []
    for entry in entries:
        shown.append(entry if "at" in entry else {"at": shown[-1]["at"], **entry})
    return shown


def _learnt_at(entry: Json) -> datetime:
    return datetime.fromisoformat(entry["at"])


def _subject(row: Columns) -> Json:
    document = row["document"] or {}
    shown = ("id", "has_external_task_id", "provider_task_id", "state", "version", "attempts")
    times = ("claimed_at", "next_poll_at", "deadline", "created_at", "updated_at", "finished_at")
    units = row["units"]
    return {
        **{name: row[name] for name in shown},
        "reference_type": document.get("reference_type"),
        "provider_updated_at": format_rfc3339(row["provider_updated_at"]),
        "poll_count": row["poll_count"],
        "media_check_attempts": row["media_check_attempts"],
        "units": None if units is None else str(units),
        "creates_saved": row["creates_saved"],
        **{name: format_rfc3339(row[name]) for name in times},
        "erased_at": format_rfc3339(row["erased_at"]),
        "error": redaction.error(row["error"]),
        "texts": redaction.texts(document),
        "tags": len(document.get("tag_list") or ()),
        "media": redaction.media(document),
    }


def _moves(kept: Kept, entries: Sequence[Json]) -> list[Move]:
    by_callback = {
        SIGNAL_OF_STATUS[STATUS_WORDS[row["status"]]].value
        for row in kept.callbacks
        if row["verdict"] == Verdict.APPLIED and row["status"] in STATUS_WORDS
    }
    told = [
        ToldMove(state, row["created_at"], state.value in by_callback)
        for row in kept.events
        if (state := _STATE_OF_TYPE.get(row["type"])) not in (None, State.QUEUED)
        and state is not None
    ]
    return moves_of(entries, told, kept.subject["attempts"])


def _callback(row: Columns, signature_headers: Mapping[str, str]) -> Json:
    signature = signature_headers.get(row["source"])
    return {
        "source": "callback",
        "at": format_rfc3339(row["received_at"]),
        "id": row["id"],
        "sender": row["source"],
        "verification": row["verification"],
        "verdict": row["verdict"],
        "reason": redaction.reason(row["reason"]),
        "times_received": row["times_received"],
        "status": known_word(row["status"]),
        "provider_at": format_rfc3339(row["provider_updated_at"]),
        "size": row["size"],
        "sha256": row["sha256"],
        "header_names": sorted(row["headers"])[: redaction.MAX_HEADERS],
        "shown_headers": redaction.shown_headers(row["headers"], signature),
    }


def _event(row: Columns) -> Json:
    return {
        "id": row["id"],
        "type": row["type"],
        "sequence": row["sequence"],
        "at": format_rfc3339(row["created_at"]),
        "size": row["size"],
        "sha256": row["sha256"],
    }


def _deliveries(kept: Kept) -> list[Json]:
    types = {row["id"]: row["type"] for row in kept.events}
    attempts: dict[str, list[Json]] = {row["id"]: [] for row in kept.deliveries}
    for row in kept.attempts:
        attempts[row["delivery_id"]].append(_attempt(row))
    return [
        {
            "id": row["id"],
            "event_id": row["event_id"],
            "type": types.get(row["event_id"]),
            "subscriber_id": row["subscriber_id"],
            "state": row["state"],
            "created_at": format_rfc3339(row["created_at"]),
            "finished_at": format_rfc3339(row["finished_at"]),
            "attempts_made": row["attempts"],
            "attempts": attempts[row["id"]],
        }
        for row in kept.deliveries
    ]


def _attempt(row: Columns) -> Json:
    return {
        "number": row["number"],
        "at": format_rfc3339(row["started_at"]),
        "status": row["status"],
        "latency_ms": row["latency_ms"],
        "delivered": row["delivered"],
        "failure": redaction.error_kind(row["error"]),
        "answer_kind": redaction.kind_of_answer(row["head"]),
        "answer_size": row["size"],
        "answer_sha256": row["sha256"],
    }
