"""Adopting a copy: what it brought along is ended, nobody is told, and then it works."""

from dataclasses import replace
from typing import Any

import pytest

from service.accounts.steps import action_log
from service.accounts.store.actions import ActionFilter
from service.callbacks.steps import webhook_secrets
from service.installation.domain.installation import Installation
from service.installation.steps import adopt
from service.installation.steps.unchanged import Overtaken
from service.installation.store import adoption
from service.resources import Resources
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import deliveries_of
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver
from tests.test_command_line import run

COPY = "UPDATE installation SET public_url = 'https://original.example'"
ROW = "SELECT installation_id, public_url, held_reason FROM installation"
OPERATION = """
    INSERT INTO operations (id, what, filter, cut_off, state, count, count_exact, cannot, done,
        skipped, failed, first, next_step_at, created_at)
    VALUES ('opr_1', 'cancel', '{}', now(), 'running', 1, true, '{}', 0, 0, 0, '[]', now(), now())
"""
ERASURE = """
    INSERT INTO erasures (subject_id, state, next_try_at, requested_at)
    VALUES ('sub_gone', 'pending', now(), now())
"""


async def fill(api: Api, provider: SimulatorClient, subscriber: WebhookReceiver) -> dict[str, Any]:
    """A copy that has a queue, a task with the provider, and deliveries, an erasure and an
    operation under way: what was made, by what it is."""
    await provider.admin("faults", {"lose": True, "processing_after": 600})
    made = {"subscriber": await api.subscribe(subscriber.url)}
    made["submitted"] = await api.create(callback_url=subscriber.url)
    await api.work(Work.SUBMIT)
    made["queued"] = await api.create()
    for statement in (OPERATION, ERASURE, COPY):
        await fetch(api.resources, statement)
    return made


async def test_what_a_copy_brought_along_is_ended_and_nobody_is_told(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    made = await fill(api, provider, subscriber)
    (before,) = await fetch(api.resources, ROW)
    done = await adopt.adopt(api.resources, action_log.command_line())
    assert (done.subscribers, done.canceled, done.failed) == (1, 1, 1)
    assert (done.operations, done.erasures, done.keys) == (1, 1, 0)
    queued, submitted = (
        await api.read(made["queued"]["id"]),
        await api.read(made["submitted"]["id"]),
    )
    assert queued["state"] == "canceled"
    assert (submitted["state"], submitted["error"]["code"]) == ("failed", "left_behind")
    deliveries = await fetch(api.resources, "SELECT state FROM deliveries")
    assert {delivery["state"] for delivery in deliveries} == {"canceled"}
    assert len(deliveries) == done.deliveries
    (after,) = await fetch(api.resources, ROW)
    assert after == {
        "installation_id": done.installation_id,
        "public_url": api.resources.home.url,
        "held_reason": None,
    }
    assert after["installation_id"] != before["installation_id"]
    entries, _ = await action_log.page(api.resources, ActionFilter(action=None), 1)
    assert (entries[0].action, entries[0].object_id) == ("adopted", done.installation_id)
    await api.work()
    assert subscriber.requests == []
    assert await api.violations() == []


async def test_it_works_afterwards_and_tells_whom_it_is_asked_to(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver
) -> None:
    made = await fill(api, provider, subscriber)
    await adopt.adopt(api.resources, action_log.command_line())
    new = await api.create()
    await api.work()
    assert (await provider.ledger(new["id"]))["creates"]
    assert subscriber.requests == [], "it is paused"
    path = f"/v1/subscribers/{made['subscriber']['id']}"
    await api.http.patch(path, json={"state": "active"})
    await api.work(Work.DELIVER)
    deliveries = await deliveries_of(api, made["subscriber"])
    assert {delivery["state"] for delivery in deliveries} >= {"canceled", "delivered"}
    assert await api.violations() == []


async def test_who_is_cut_off_before_the_last_step_leaves_it_held_and_begins_again(
    api: Api,
    provider: SimulatorClient,
    subscriber: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await fill(api, provider, subscriber)
    for step in ("end_erasures", "cancel_deliveries", "move_in"):

        async def cut_off(*_: object) -> int:
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(adoption, step, cut_off)
            with pytest.raises(ConnectionError):
                await adopt.adopt(api.resources, action_log.command_line())
        await api.work()
        assert (await fetch(api.resources, ROW))[0]["public_url"] == "https://original.example"
    assert subscriber.requests == []
    done = await adopt.adopt(api.resources, action_log.command_line())
    assert (done.canceled, done.failed, done.deliveries) == (0, 0, 0)
    assert (await api.read(made["queued"]["id"]))["state"] == "canceled"
    assert await api.violations() == []


async def test_of_two_that_run_at_once_one_stops_before_it_ends_what_is_of_the_new_home(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(api.resources, COPY)
    found = await adopt.refuse_at_home(api.resources)
    await adopt.adopt(api.resources, action_log.command_line())
    (adopted,) = await fetch(api.resources, ROW)
    made = await api.create()

    async def looked_before(_: Resources) -> Installation:
        return found

    monkeypatch.setattr(adopt, "refuse_at_home", looked_before)
    with pytest.raises(Overtaken):
        await adopt.adopt(api.resources, action_log.command_line())
    assert (await api.read(made["id"]))["state"] == "queued"
    assert await fetch(api.resources, ROW) == [adopted]


async def test_the_feeds_of_a_dump_go_on_behind_what_it_brought_along(api: Api) -> None:
    made = await api.create()
    await fetch(api.resources, COPY)
    await fetch(api.resources, "UPDATE transaction_ids SET system_identifier = 1")
    await fetch(api.resources, "UPDATE events SET xid = '9000000000'")
    await adopt.adopt(api.resources, action_log.command_line())
    page = (await api.http.get("/v1/events")).json()
    assert [(event["data"]["id"], event["type"]) for event in page["data"]] == [
        (made["id"], "subject.queued"),
        (made["id"], "subject.canceled"),
    ]


async def test_keys_and_secrets_go_where_it_is_asked_for(api: Api) -> None:
    await fetch(api.resources, COPY)
    secret = "whsec_" + "bmV3IHNlY3JldCBmb3IgdGVzdHMgb25seSEhISE="
    await webhook_secrets.add(api.resources, "provider", secret)
    done = await adopt.adopt(api.resources, action_log.command_line(), revoke_keys=True)
    assert (done.keys, done.secrets) == (1, 1)
    assert not await fetch(api.resources, "SELECT FROM api_keys WHERE revoked_at IS NULL")
    assert not [one for one in await webhook_secrets.list_secrets(api.resources) if one.id]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT", "This database is at home"),
        ("UPDATE installation SET public_url = NULL", "nothing to adopt"),
        (
            "UPDATE installation SET held_reason = 'It went back.', held_since = now()",
            "use `callsheet resume`",
        ),
    ],
)
async def test_what_is_no_copy_is_refused(resources: Resources, statement: str, said: str) -> None:
    await fetch(resources, statement)
    with pytest.raises(adopt.NotACopy, match=said):
        await adopt.adopt(resources, action_log.command_line())


async def test_the_very_database_that_others_work_on_is_refused(
    resources: Resources, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one wrong PUBLIC_URL would end all that is under way there."""
    await fetch(resources, f"{COPY}, last_moment = $1", clock())

    async def noted_meanwhile(_seconds: float) -> None:
        await fetch(resources, "UPDATE installation SET last_moment = last_moment + interval '5 s'")

    monkeypatch.setattr(adopt, "watch", noted_meanwhile)
    with pytest.raises(adopt.NotACopy, match=r"Processes of https://original\.example are running"):
        await adopt.adopt(resources, action_log.command_line())


async def test_a_copy_that_was_just_made_is_watched_and_then_adopted(
    resources: Resources, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(resources, f"{COPY}, last_moment = $1", clock())
    monkeypatch.setattr(adopt, "WATCHED", 0.0)
    done = await adopt.adopt(resources, action_log.command_line())
    assert replace(done, installation_id="") == adopt.Adopted(0, 0, 0, 0, 0, 0, 0, 0, "")


async def test_the_command_prints_what_it_did(
    resources: Resources, environ: dict[str, str]
) -> None:
    await fetch(resources, COPY)
    done = await run(environ, "adopt", "--revoke-keys")
    assert done.returncode == 0, done.stderr
    assert "0 pending deliveries canceled" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("It is the database of http://127.0.0.1:65009")
    again = await run(environ, "adopt")
    assert again.returncode == 1
    assert "This database is at home" in again.stderr
