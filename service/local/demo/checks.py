"""What must hold at the end of the demo, one sentence each."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from service.local.demo.backend import Backend, ReceivedEvent
from service.local.demo.progress import Progress, Row

Json = dict[str, Any]
Check = tuple[str, bool]


def checks(board: Progress, backend: Backend, ledger: Json, parallel: int) -> Iterator[Check]:
    """Every expectation, and whether it holds. `ledger` is the simulator's."""
    accepted = [part for part in board.rows if part.subject_id]
    for part in board.rows:
        yield _ended_as_expected(part)
    yield (
        "every accepted subject was made at the provider once, or refused by it",
        _created_once(accepted, ledger),
    )
    peak = ledger["counts"]["peak_running"]
    yield f"never more than {parallel} subjects were with the provider at once", peak <= parallel
    yield from _found_by_polling(accepted, ledger)
    yield (
        "the subscriber heard every event of every subject",
        all(
            _event_ids(part)
            == [(one.event_id, one.sequence) for one in _without_repeats(backend, part)]
            for part in accepted
        ),
    )
    yield (
        "in the order of their sequence, from 1 and without a gap",
        all(
            [sequence for _, sequence in _event_ids(part)] == list(range(1, len(part.events) + 1))
            for part in accepted
        ),
    )
    yield "the same request sent again gave the same subject", board.repeat_gave_same_subject
    yield "every delivery was signed", backend.unverified == 0
    yield "a delivery that was answered 500 came again", backend.failed_on_purpose == 1


def _ended_as_expected(part: Row) -> Check:
    role = part.character
    if role.final_state is None:
        named = {one["pointer"] for one in part.answer.get("errors", [])}
        sentence = f"{role.name} was refused with {len(role.pointers)} broken rules named"
        return sentence, part.status == 422 and named == set(role.pointers)  # noqa: PLR2004 — HTTP
    error = part.subject.get("error") or {}
    holds = part.status == 202 and part.state == role.final_state  # noqa: PLR2004 — HTTP
    if role.error_code:
        return f"{role.name} {role.final_state} with the provider's {role.error_code}", holds and (
            str(error.get("provider_code")) == role.error_code
        )
    return f"{role.name} {role.final_state}", holds


def _created_once(accepted: list[Row], ledger: Json) -> bool:
    """Nothing was made twice, and a repeat was not even tried."""
    sent = Counter(entry["external_task_id"] for entry in ledger["creates"])
    return sent == Counter(part.subject_id for part in accepted)


def _found_by_polling(accepted: list[Row], ledger: Json) -> Iterator[Check]:
    """Those of whom no callback told were asked for."""
    asked = {one["external_task_id"] for one in ledger["lookups"] if one["outcome"] == "found"}
    for part in accepted:
        fault = part.character.fault or {}
        if fault.get("lose") or fault.get("forge"):
            yield (
                f"{part.character.name}'s end was learnt by asking the provider",
                part.subject_id in asked,
            )


def _event_ids(part: Row) -> list[tuple[str, int]]:
    return [(event["id"], event["data"]["sequence"]) for event in part.events]


def _without_repeats(backend: Backend, part: Row) -> list[ReceivedEvent]:
    """What arrived about a subject, in the order of arrival, repeats left out."""
    seen: dict[str, ReceivedEvent] = {}
    for one in backend.received[part.subject_id or ""]:
        seen.setdefault(one.event_id, one)
    return list(seen.values())
