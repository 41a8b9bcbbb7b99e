"""The checks at the end of the demo: a sentence each, and whether it holds."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from service.local.demo.backend import Backend, ReceivedEvent
from service.local.demo.progress import Progress, Row

Json = dict[str, Any]
Check = tuple[str, bool]  # the sentence, and whether it holds


def checks(progress: Progress, backend: Backend, ledger: Json, parallel: int) -> Iterator[Check]:
    """All checks. `ledger` is the simulator's, `parallel` the provider's limit of running tasks."""
    accepted = [row for row in progress.rows if row.subject_id]
    for row in progress.rows:
        yield _ended_as_expected(row)
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
            _event_ids(row)
            == [(event.event_id, event.sequence) for event in _without_repeats(backend, row)]
            for row in accepted
        ),
    )
    yield (
        "in the order of their sequence, from 1 and without a gap",
        all(
            [sequence for _, sequence in _event_ids(row)] == list(range(1, len(row.events) + 1))
            for row in accepted
        ),
    )
    yield "the same request sent again gave the same subject", progress.repeat_gave_same_subject
    yield "every delivery was signed", backend.unverified == 0
    yield "a delivery that was answered 500 came again", backend.failed_on_purpose == 1


def _ended_as_expected(row: Row) -> Check:
    character = row.character
    if character.final_state is None:
        named = {error["pointer"] for error in row.answer.get("errors", [])}
        sentence = f"{character.name} was refused with {len(character.pointers)} broken rules named"
        return sentence, row.status == 422 and named == set(character.pointers)  # noqa: PLR2004 — HTTP
    error = row.subject.get("error") or {}
    holds = row.status == 202 and row.state == character.final_state  # noqa: PLR2004 — HTTP
    if character.error_code:
        return (
            f"{character.name} {character.final_state} with the provider's {character.error_code}",
            holds and (str(error.get("provider_code")) == character.error_code),
        )
    origin = ", as an arq job asked" if character.is_job else ""
    return f"{character.name} {character.final_state}{origin}", holds


def _created_once(accepted: list[Row], ledger: Json) -> bool:
    """Whether the provider received one create call for each accepted subject, and no other."""
    sent = Counter(entry["external_task_id"] for entry in ledger["creates"])
    return sent == Counter(row.subject_id for row in accepted)


def _found_by_polling(accepted: list[Row], ledger: Json) -> Iterator[Check]:
    """For each subject whose callbacks are lost or forged: whether the provider was polled."""
    asked = {
        look_up["external_task_id"]
        for look_up in ledger["lookups"]
        if look_up["outcome"] == "found"
    }
    for row in accepted:
        fault = row.character.fault or {}
        if fault.get("lose") or fault.get("forge"):
            yield (
                f"{row.character.name}'s end was learnt by asking the provider",
                row.subject_id in asked,
            )


def _event_ids(row: Row) -> list[tuple[str, int]]:
    return [(event["id"], event["data"]["sequence"]) for event in row.events]


def _without_repeats(backend: Backend, row: Row) -> list[ReceivedEvent]:
    """The events received about a subject, in the order of arrival, repeats left out."""
    first: dict[str, ReceivedEvent] = {}
    for event in backend.received[row.subject_id or ""]:
        first.setdefault(event.event_id, event)
    return list(first.values())
