"""Deduplication: however often a message comes, and under whatever id, it is applied once."""

import asyncio
from collections import Counter

from service.callbacks.domain.callback import RawCallback
from service.callbacks.steps import ingest
from service.callbacks.steps.verify import verify
from service.provider.domain.report_to_signal import status_update
from service.provider.domain.task_reports import read_callback
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import decide
from service.subjects.store import subjects, transitions
from tests.support.api import Api
from tests.support.callbacks import (
    TASK_ID,
    legacy_callback,
    signed_headers,
    stored_callbacks,
    url_token,
)
from tests.support.database import wait_until_blocked
from tests.support.ingestion import post_callback, state_of, submitted_subject

COPIES = 46
OTHER_TASK = "880000000000000002"


async def test_copies_that_come_at_once_are_applied_once_and_counted(api: Api) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id)
    copies = (post_callback(api, subject_id, body) for _ in range(COPIES))
    assert Counter(await asyncio.gather(*copies)) == {"applied": 1, "repeated": COPIES - 1}
    (row,) = await stored_callbacks(api)
    assert (row["times_received"], row["verdict"], row["body"]) == (COPIES, "applied", body)
    assert await api.event_types(subject_id) == ["queued", "submitted", "succeeded"]


async def test_the_same_report_under_other_ids_is_applied_once_and_all_stored(api: Api) -> None:
    subject_id = await submitted_subject(api)
    body = legacy_callback(subject_id)
    messages = (post_callback(api, subject_id, body, f"msg_{number}") for number in range(9))
    assert Counter(await asyncio.gather(*messages)) == {"applied": 1, "repeated": 8}
    assert len(await stored_callbacks(api)) == 9


async def test_a_message_that_nothing_was_made_of_may_come_to_something_when_it_comes_again(
    api: Api,
) -> None:
    body = legacy_callback(None, task=TASK_ID)
    assert await post_callback(api, None, body) == "unknown"
    subject_id = await submitted_subject(api)
    assert await post_callback(api, None, body) == "applied"
    assert await post_callback(api, None, body) == "repeated"
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["reason"], row["times_received"]) == ("applied", None, 3)
    assert row["subject_id"] == subject_id
    assert await state_of(api, subject_id) == "succeeded"


async def test_a_message_that_went_astray_is_applied_at_its_own_address(api: Api) -> None:
    other_id, subject_id = await submitted_subject(api, OTHER_TASK), await submitted_subject(api)
    body = legacy_callback(subject_id)
    assert await post_callback(api, other_id, body) == "mismatch"
    assert await post_callback(api, subject_id, body) == "applied"
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["subject_id"], row["times_received"]) == ("applied", subject_id, 2)
    assert await state_of(api, other_id) == "submitted"


async def test_the_same_words_at_the_same_time_are_one_whatever_the_message_is_called(
    api: Api,
) -> None:
    """A contradiction that comes twice is one contradiction."""
    subject_id = await submitted_subject(api)
    good = legacy_callback(subject_id, updated_at=1_781_080_794_151)
    bad = legacy_callback(subject_id, "failed", updated_at=1_781_080_794_152)
    later = legacy_callback(subject_id, "failed", updated_at=1_781_080_794_153)
    messages = [good, good, bad, bad, later]
    verdicts = [
        await post_callback(api, subject_id, body, f"msg_{at}") for at, body in enumerate(messages)
    ]
    assert verdicts == ["applied", "repeated", "anomaly", "repeated", "anomaly"]
    rows = await stored_callbacks(api, order="dedup_key")
    assert [row["verdict"] for row in rows] == verdicts
    assert await state_of(api, subject_id) == "succeeded"


async def test_other_bytes_under_the_id_of_a_message_are_stored_and_decided_by_themselves(
    api: Api,
) -> None:
    """Whatever was answered with success is in the table to the letter."""
    subject_id = await submitted_subject(api)
    bodies = [legacy_callback(subject_id, word) for word in ("processing", "succeed", "failed")]
    verdicts = [await post_callback(api, subject_id, body) for body in (*bodies, *bodies)]
    assert verdicts[:3] == ["applied", "applied", "anomaly"]
    assert verdicts[3] == "repeated"
    rows = await stored_callbacks(api)
    assert sorted(row["body"] for row in rows) == sorted(bodies)
    assert [row["times_received"] for row in rows] == [2, 2, 2]
    assert {row["dedup_key"].partition("#")[0] for row in rows} == {"msg_1"}
    assert await state_of(api, subject_id) == "succeeded"


async def test_a_copy_that_went_astray_in_the_same_batch_does_no_harm(api: Api) -> None:
    other_id, subject_id = await submitted_subject(api, OTHER_TASK), await submitted_subject(api)
    now, body = api.resources.clock(), legacy_callback(subject_id)
    callbacks = [
        verify(
            api.resources,
            RawCallback(
                "provider",
                url_token(api.resources, addressed_id),
                signed_headers(body, now),
                body,
                now,
            ),
        )
        for addressed_id in (other_id, subject_id, subject_id)
    ]
    results = await ingest.ingest(api.resources, callbacks)
    assert [result.verdict for result in results] == ["mismatch", "applied", "repeated"]
    (row,) = await stored_callbacks(api)
    assert (row["verdict"], row["subject_id"], row["times_received"]) == ("applied", subject_id, 3)


async def test_other_bytes_under_the_same_id_at_the_same_moment_are_stored_too(api: Api) -> None:
    """Neither sees the other before it is committed."""
    now, bodies = (
        api.resources.clock(),
        [legacy_callback(None, task=task) for task in (TASK_ID, OTHER_TASK)],
    )
    first, second = (
        verify(api.resources, RawCallback("provider", None, signed_headers(body, now), body, now))
        for body in bodies
    )

    async with api.resources.database.transaction() as tx:
        await ingest.store_and_apply(tx, api.resources, [first])
        later = asyncio.create_task(ingest.ingest(api.resources, [second]))
        await wait_until_blocked(api.resources)
    (result,) = await later
    assert result.verdict == "unknown"
    assert sorted(row["body"] for row in await stored_callbacks(api)) == sorted(bodies)


async def test_what_moves_a_subject_after_it_was_read_is_not_overwritten(api: Api) -> None:
    """The callback is decided by a state that another transaction is about to leave behind."""
    subject_id, resources = await submitted_subject(api), api.resources
    async with resources.database.transaction() as tx:
        subject = await subjects.lock(tx, subject_id)
        assert subject is not None
        processing = decide(resources, subject, StatusUpdate(Signal.PROCESSING))
        await transitions.write(tx, [processing])
        later = asyncio.create_task(post_callback(api, subject_id, legacy_callback(subject_id)))
        await wait_until_blocked(resources)
    assert await later == "applied"
    assert await api.event_types(subject_id) == ["queued", "submitted", "processing", "succeeded"]
    (row,) = await stored_callbacks(api)
    assert row["times_received"] == 1


async def test_the_same_end_told_by_two_ids_at_the_same_moment_is_one_event(api: Api) -> None:
    subject_id, resources = await submitted_subject(api), api.resources
    body = legacy_callback(subject_id)
    async with resources.database.transaction() as tx:
        subject = await subjects.lock(tx, subject_id)
        assert subject is not None
        update = status_update(read_callback(body))
        assert update is not None
        await transitions.write(tx, [decide(resources, subject, update)])
        later = asyncio.create_task(post_callback(api, subject_id, body))
        await wait_until_blocked(resources)
    assert await later == "repeated"
    assert await api.event_types(subject_id) == ["queued", "submitted", "succeeded"]
