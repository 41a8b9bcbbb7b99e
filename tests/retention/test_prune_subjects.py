"""Finished subjects go when their time is over, with all that is theirs; what is still to be told
keeps them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from structlog.typing import EventDict

from service.accounts.domain.actor import Actor, ActorKind
from service.kit.timestamps import format_rfc3339
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.steps import prune, prune_walks, rounds
from service.retention.store import removal
from service.retention.store.rounds import PRUNE_LOCK
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import CLOSED_PORT
from tests.support.request_bodies import request_body
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver

DAY = 24 * 3600
DEAD = "UPDATE deliveries SET state = 'dead', due_at = NULL, finished_at = $1"
BY_HAND = Actor(ActorKind.COMMAND, "root", "host")
THEIRS = ("subjects", "events", "deliveries", "attempts")


async def rows(resources: Resources) -> dict[str, int]:
    """How many rows each table has that has something of subjects."""
    return {
        table: (await fetch(resources, f"SELECT count(*) FROM {table}"))[0]["count"]  # noqa: S608
        for table in THEIRS
    }


async def succeed(api: Api) -> dict[str, Any]:
    """A subject that has succeeded, and of which everybody was told."""
    made = await api.create()
    await api.work()
    ended = await api.wait_until_finished(made["id"])
    while await fetch(api.resources, "SELECT FROM deliveries WHERE state = 'pending'"):
        await api.work(Work.DELIVER)
    return ended


async def cancel(api: Api) -> dict[str, Any]:
    made = await api.create()
    answer = await api.http.post(f"/v1/subjects/{made['id']}/cancel")
    ended: dict[str, Any] = answer.json()
    return ended


def keeping(api: Api, **days: Any) -> Resources:  # noqa: ANN401
    """The resources, with other settings of retention."""
    return replace(api.resources, settings=replace(api.resources.settings, **days))


async def test_a_subject_goes_with_all_that_is_its_own_at_its_age_and_not_before(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    await api.subscribe(subscriber.url)
    await succeed(api)
    before = await rows(api.resources)
    assert before["deliveries"] >= 2
    assert before["attempts"] >= 2
    clock.advance(api.resources.settings.retention_succeeded_days * DAY)
    await prune.prune(api.resources)
    assert await rows(api.resources) == before
    clock.advance(0.001)
    pruned = (await prune.prune(api.resources)).counts
    assert await rows(api.resources) == dict.fromkeys(THEIRS, 0)
    assert pruned[Kind.SUCCEEDED] == 1
    for kind in (Kind.EVENTS, Kind.DELIVERIES, Kind.ATTEMPTS):
        assert pruned[kind] == before[kind.value]


async def test_each_outcome_has_its_own_age(
    api: Api, clock: Clock, provider: SimulatorClient
) -> None:
    canceled = await cancel(api)
    await provider.admin("faults", {"fail": "no face"})
    failed = await succeed(api)
    await provider.admin("faults", {})
    succeeded = await succeed(api)
    assert [one["state"] for one in (failed, succeeded)] == ["failed", "succeeded"]
    kept = {"retention_succeeded_days": 5, "retention_failed_days": 7}
    resources = keeping(api, retention_canceled_days=6, **kept)
    left = [canceled["id"], failed["id"], succeeded["id"]]
    for days, goes in ((4.9, None), (5.1, succeeded), (6.1, canceled), (7.1, failed)):
        clock.advance(days * DAY)
        await prune.prune(resources)
        clock.advance(-days * DAY)
        if goes:
            left.remove(goes["id"])
        found = await fetch(resources, "SELECT id FROM subjects ORDER BY id")
        assert [row["id"] for row in found] == sorted(left)


async def test_with_0_it_is_kept_for_ever(api: Api, clock: Clock) -> None:
    await cancel(api)
    clock.advance(3650 * DAY)
    await prune.prune(keeping(api, retention_canceled_days=0))
    assert (await rows(api.resources))["subjects"] == 1


async def test_what_has_not_ended_is_never_pruned(api: Api, clock: Clock) -> None:
    await api.create()
    clock.advance(3650 * DAY)
    await prune.prune(api.resources)
    assert (await rows(api.resources))["subjects"] == 1


async def test_a_pending_delivery_keeps_its_subject_and_blocks_no_other(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune_walks, "FIRST_BATCH", 1)
    await api.subscribe(CLOSED_PORT)
    waits, told = await cancel(api), await cancel(api)
    await fetch(api.resources, f"{DEAD} WHERE ordering_key = $2", clock(), told["id"])
    clock.advance(400 * DAY)
    await prune.prune(api.resources)
    assert [row["id"] for row in await fetch(api.resources, "SELECT id FROM subjects")] == [
        waits["id"]
    ]
    await fetch(api.resources, DEAD, clock())
    await prune.prune(api.resources)
    assert await rows(api.resources) == dict.fromkeys(THEIRS, 0)


async def test_a_pending_erasure_keeps_its_subject(api: Api, clock: Clock) -> None:
    ended = await cancel(api)
    await fetch(
        api.resources,
        "INSERT INTO erasures (subject_id, state, next_try_at, requested_at)"
        " VALUES ($1, 'pending', $2, $2)",
        ended["id"],
        clock(),
    )
    clock.advance(400 * DAY)
    await prune.prune(api.resources)
    assert (await rows(api.resources))["subjects"] == 1
    await fetch(
        api.resources,
        "UPDATE erasures SET state = 'done', next_try_at = NULL, finished_at = $1",
        clock(),
    )
    await prune.prune(api.resources)
    assert (await rows(api.resources))["subjects"] == 0
    assert await fetch(api.resources, "SELECT * FROM erasures") == []


async def test_a_tombstone_is_kept_as_long_as_what_tells_of_the_erasure(
    api: Api, clock: Clock
) -> None:
    """Else a reader of the feed who is a little late would lose its place by it."""
    ended = await cancel(api)
    clock.advance(29 * DAY)
    erased = (await api.http.delete(f"/v1/subjects/{ended['id']}")).json()
    clock.advance(30 * DAY)
    assert erased["kept_until"] == format_rfc3339(clock())
    await prune.prune(api.resources)
    assert (await rows(api.resources))["subjects"] == 1
    clock.advance(0.001)
    await prune.prune(api.resources)
    assert await rows(api.resources) == dict.fromkeys(THEIRS, 0)


async def test_the_last_pruned_event_of_each_feed_is_noted_with_it(api: Api, clock: Clock) -> None:
    await cancel(api)
    newest = "SELECT xid::text, position FROM events ORDER BY xid DESC, position DESC LIMIT 1"
    (last,) = await fetch(api.resources, newest)
    clock.advance(100 * DAY)
    await cancel(api)
    await prune.prune(api.resources)
    for table in ("accounts WHERE name = 'acme'", "installation"):
        noted = await fetch(
            api.resources,
            f"SELECT pruned_xid::text AS xid, pruned_position AS position FROM {table}",  # noqa: S608
        )
        assert noted == [last]
    await prune.prune(keeping(api, retention_canceled_days=0))
    assert (await rows(api.resources))["events"] == 2


async def test_a_round_that_is_cut_off_is_gone_on_with_by_the_next(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction has committed by itself, and no other has begun."""
    monkeypatch.setattr(prune_walks, "FIRST_BATCH", 2)
    monkeypatch.setattr(prune_walks, "next_limit", lambda limit, _took: limit)
    for _ in range(5):
        await cancel(api)
    clock.advance(100 * DAY)
    cut_off = rounds.Round(api.resources, most=None, by_hand=False)
    delete, begun = removal.delete, 0

    async def die_in_the_second(*given: Any) -> Any:  # noqa: ANN401
        nonlocal begun
        begun += 1
        deleted = await delete(*given)
        if begun == 2:
            raise asyncio.CancelledError
        return deleted

    with monkeypatch.context() as patch:
        patch.setattr(removal, "delete", die_in_the_second)
        with pytest.raises(asyncio.CancelledError):
            await prune_walks.prune(cut_off, Kind.CANCELED, clock())
    assert (await rows(api.resources))["subjects"] == 3
    assert cut_off.counts[Kind.CANCELED] == 2
    await prune.prune(api.resources)
    assert await rows(api.resources) == dict.fromkeys(THEIRS, 0)


async def test_two_that_prune_at_once_delete_each_subject_once(api: Api, clock: Clock) -> None:
    for _ in range(5):
        await cancel(api)
    clock.advance(100 * DAY)
    pruned = await asyncio.gather(*(prune.prune(api.resources, actor=BY_HAND) for _ in range(3)))
    assert sum(done.counts[Kind.CANCELED] for done in pruned) == 5
    assert await rows(api.resources) == dict.fromkeys(THEIRS, 0)


async def test_a_worker_leaves_the_round_to_another_that_prunes(api: Api, clock: Clock) -> None:
    await cancel(api)
    clock.advance(100 * DAY)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", PRUNE_LOCK)
            assert not (await prune.prune(api.resources)).counts
    finally:
        await connection.close()
    assert (await prune.prune(api.resources)).counts[Kind.CANCELED] == 1


async def test_it_pauses_while_an_old_transaction_is_under_way_and_says_so_once(
    api: Api, clock: Clock, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    await cancel(api)
    clock.advance(100 * DAY)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1")
            assert not (await rounds_of(api, monkeypatch, old=0))[Kind.CANCELED]
            assert not (await rounds_of(api, monkeypatch, old=0))[Kind.CANCELED]
    finally:
        await connection.close()
    assert (await rounds_of(api, monkeypatch, old=60))[Kind.CANCELED] == 1
    told = [line["action"] for line in logged if line["action"].startswith("pruning")]
    assert told == ["pruning_paused", "pruning_resumed"]


async def rounds_of(api: Api, monkeypatch: pytest.MonkeyPatch, old: float) -> Mapping[Kind, int]:
    """A round for which a transaction is too old after so many seconds."""
    monkeypatch.setattr(rounds, "OLDEST_TRANSACTION", timedelta(seconds=old))
    return (await prune.prune(api.resources)).counts


async def test_a_late_callback_of_a_pruned_subject_is_stored_as_unknown(
    api: Api, clock: Clock
) -> None:
    ended = await succeed(api)
    clock.advance(100 * DAY)
    await prune.prune(api.resources)
    assert (await api.http.get(f"/v1/subjects/{ended['id']}")).status_code == 404
    body = legacy_callback(ended["id"])
    address = f"/callbacks/{url_token(api.resources, ended['id'])}"
    headers = signed_headers(body, clock(), "msg_late")
    answer = await api.http.post(address, content=body, headers=headers)
    assert answer.status_code == 200
    verdicts = await fetch(api.resources, "SELECT verdict FROM callbacks ORDER BY id DESC LIMIT 1")
    assert verdicts == [{"verdict": "unknown"}]


async def test_names_of_a_pruned_subject_are_free_again(api: Api, clock: Clock) -> None:
    """Also an idempotency key that is still bound, as somebody wrote an earlier end by hand."""
    body, headers = request_body(external_task_id="mine"), {"idempotency-key": "key"}
    first = await api.http.post("/v1/subjects", json=body, headers=headers)
    ended = "UPDATE subjects SET state = 'canceled', finished_at = $1"
    await fetch(api.resources, ended, clock() - timedelta(days=100))
    await prune.prune(api.resources)
    again = await api.http.post("/v1/subjects", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] != first.json()["id"]
    repeated = await api.http.post("/v1/subjects", json=body, headers=headers)
    assert (repeated.status_code, repeated.json()["id"]) == (200, again.json()["id"])
