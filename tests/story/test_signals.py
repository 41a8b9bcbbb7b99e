"""What is kept of the signals of a subject beside its callbacks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import text

from service.kit.database.connection import Connection
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.signal_record import SignalDetails, SignalRecord, times_learnt
from service.subjects.domain.signal_source import SignalSource
from service.subjects.domain.work import Work
from service.subjects.store import signals
from service.subjects.store.signals import MAX_ENTRIES, MIDDLE
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.simulator import SimulatorClient
from tests.support.subjects import add_committed_subject

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def kept(resources: Resources, subject_id: str) -> list[dict[str, Any]]:
    """The signals of a subject as they are stored."""
    (row,) = await fetch(resources, "SELECT signals FROM subjects WHERE id = $1", subject_id)
    return list(orjson.loads(row["signals"] or "[]"))


async def test_the_answer_to_a_submission_is_kept_with_the_providers_request_id(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await api.wait_until_finished(subject_id)
    (entry,) = await kept(api.resources, subject_id)
    assert (entry["source"], entry["signal"]) == ("submit", "submitted")
    assert (entry["outcome"], entry["code"], entry["http_status"]) == ("task_accepted", 0, 200)
    assert len(entry["request_id"]) == 36
    assert entry["sent_at"] <= entry["at"]


async def test_a_lost_answer_and_the_look_up_that_finds_the_task_are_kept(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("faults", {"answer": "drop", "lose": True})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    clock.advance(5)
    await api.work(Work.RECONCILE)
    lost, found = await kept(api.resources, subject_id)
    assert (lost["signal"], lost["before"], lost["after"]) == ("lost", "submitting", "unconfirmed")
    assert (lost["outcome"], "code" in lost) == ("outcome_unknown", False)
    assert (found["source"], found["before"]) == ("poll", "unconfirmed")
    assert found["status"] in {"submitted", "processing", "succeed"}


async def test_polls_that_find_the_same_share_one_entry(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    await provider.admin("settings", {"processing_after": 600, "finished_after": 600})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    for _ in range(3):
        clock.advance(600)
        await api.work(Work.RECONCILE)
    _, polls = await kept(api.resources, subject_id)
    assert (polls["ignored"], polls["count"]) == ("repeated", 3)
    assert polls["at"] < polls["last_at"]
    assert polls["request_id"] != polls["last_request_id"]


async def test_a_cancel_is_kept(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    (entry,) = await kept(api.resources, subject_id)
    assert (entry["source"], entry["before"], entry["after"]) == ("cancel", "queued", "canceled")


async def append(tx: Connection, subject_id: str, n: int, source: SignalSource) -> None:
    record = SignalRecord(
        source=source,
        at=AT + timedelta(seconds=n),
        signal=Signal.SUBMITTED,
        before=State.SUBMITTED,
        details=SignalDetails(request_id=f"req_{n}"),
    )
    await signals.append(tx, subject_id, record)


async def test_only_the_middle_of_many_signals_is_not_kept_but_counted(
    resources: Resources, account: str
) -> None:
    subject = await add_committed_subject(resources, account)
    sources = [SignalSource.POLL, SignalSource.CLOCK]  # in turns, so that none is like the last
    number = MAX_ENTRIES + 20
    async with resources.database.transaction() as tx:
        for n in range(number):
            await append(tx, subject.id, n, sources[n % 2])
    entries = await kept(resources, subject.id)
    assert len(entries) == MAX_ENTRIES
    assert sum(map(times_learnt, entries)) == number
    assert set(entries[MIDDLE]) == {"left_out"}
    ids = [entry.get("request_id") for entry in entries]
    assert (ids[0], ids[MIDDLE - 1], ids[-1]) == ("req_0", f"req_{MIDDLE - 1}", f"req_{number - 1}")


async def test_a_transition_by_a_callback_leaves_the_signals_as_they_are(
    api: Api, provider: SimulatorClient
) -> None:
    await provider.admin("faults", {"lose": ["submitted", "processing"]})
    subject_id = (await api.create())["id"]
    await api.work(Work.SUBMIT)
    await api.wait_until_finished(subject_id)
    async with api.resources.database.autocommit() as tx:
        callbacks = await tx.scalar(text("SELECT count(*) FROM callbacks"))
    assert (callbacks, len(await kept(api.resources, subject_id))) == (1, 1)
