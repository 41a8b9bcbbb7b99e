"""Every change by an operator's key or by a command is in the action log, once, as are looks of
operators at what is another account's; no secret and no contents are."""

import json
import re
from typing import Any

import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import SCOPES
from service.accounts.steps import api_keys
from service.kit.crypto.key_formats import format_whsec
from service.resources import Resources
from service.subjects.domain.lifecycle import State
from tests.accounts.test_access import BODIES, NEEDS, OWN, call, own_ids
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.event_streams import open_stream, web_server
from tests.support.subjects import subject_in_state
from tests.test_command_line import run

__all__ = ["own_ids"]

CHANGES = sorted(
    (
        call_
        for call_ in NEEDS
        if call_[0] not in {"GET", "HEAD"} and NEEDS[call_] is not None and call_ not in OWN
    ),
    reverse=True,  # DELETE last
)
KINDS = {
    ("POST", "/v1/subjects/{subject_id}/cancel"): "subject_canceled",
    ("DELETE", "/v1/subjects/{subject_id}"): "subject_erased",
    ("PATCH", "/v1/subscribers/{subscriber_id}"): "subscriber_changed",
    ("DELETE", "/v1/subscribers/{subscriber_id}"): "subscriber_deleted",
    ("POST", "/v1/subscribers/{subscriber_id}/test"): "subscriber_tested",
    ("POST", "/v1/subscribers/{subscriber_id}/rotate-secret"): "subscriber_secret_rotated",
    ("POST", "/v1/subscribers/{subscriber_id}/replay"): "events_replayed",
    ("POST", "/v1/deliveries/{delivery_id}/resend"): "delivery_resent",
    ("POST", "/v1/callbacks/{callback_id}/reverify"): "callback_reverified",
    ("POST", "/v1/holds"): "held",
    ("DELETE", "/v1/holds/{hold_id}"): "released",
    ("POST", "/v1/operations"): "operation_started",
    ("POST", "/v1/operations/{operation_id}/stop"): "operation_stopped",
}
ANOTHER = format_whsec(b"a secret that is not known yet")


async def rows(resources: Resources) -> list[dict[str, Any]]:
    return await fetch(resources, "SELECT * FROM actions ORDER BY id")


async def newest(resources: Resources, known: int) -> dict[str, Any]:
    """The one entry that was written since there were `known`."""
    entries = await rows(resources)
    assert len(entries) == known + 1, [(entry["action"], entry["after"]) for entry in entries]
    return entries[-1]


def test_every_changing_route_is_known() -> None:
    assert set(CHANGES) == set(KINDS)


async def test_each_change_with_an_operators_key_is_written_once(
    api: Api,
    own_ids: dict[str, str],
    clock: Clock,
) -> None:
    key = await api_keys.create(
        api.resources, "operations", ["operator"], key_id="key_1", name="Ada's"
    )
    (acme,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'acme'")
    written: list[dict[str, Any]] = []
    for method, path in CHANGES:
        clock.advance(1)
        answer = await call(api, method, path, own_ids, f"Bearer {key}")
        assert answer.is_success, (path, answer.text)
        entry = await newest(api.resources, len(written))
        written.append(entry)
        assert entry["action"] == KINDS[method, path]
        assert json.loads(entry["actor"]) == {
            "kind": "key",
            "name": "operations",
            "origin": "127.0.0.1",
            "key_id": "key_1",
            "key_name": "Ada's",
            "session": None,
        }
        assert entry["at"] == clock()
        assert entry["request_id"] == answer.headers["x-request-id"]
        named = re.findall(r"{(\w+)}", path)
        assert not named or entry["object_id"] == own_ids[named[0]], path
        if named and named[0] in {"subject_id", "subscriber_id", "delivery_id"}:
            assert entry["account_id"] == acme["id"], path
    listed = await api.http.get("/v1/actions", headers={"authorization": f"Bearer {key}"})
    assert [entry["id"] for entry in listed.json()["data"]] == [
        entry["id"] for entry in reversed(written)
    ]
    assert "+00:00" not in listed.text  # times are shown as everywhere else


async def test_what_an_operators_key_changes_in_its_own_account_is_written(api: Api) -> None:
    key = await api_keys.create(api.resources, "acme", SCOPES)
    calls = [call_ for call_ in sorted(OWN) if call_[0] == "POST"]
    for number, (method, path) in enumerate(calls):
        answer = await call(api, method, path, {}, f"Bearer {key}")
        assert answer.is_success, (path, answer.text)
        await newest(api.resources, number)


async def test_what_callers_change_in_their_account_is_not_written(
    api: Api,
    own_ids: dict[str, str],
) -> None:
    for method, path in CHANGES:
        if NEEDS[method, path] != "operator":
            answer = await call(api, method, path, own_ids, api.http.headers["authorization"])
            assert answer.is_success, (path, answer.text)
    assert await rows(api.resources) == []


async def test_what_was_refused_is_not_written_and_what_changed_nothing_is_a_look(
    api: Api,
    own_ids: dict[str, str],
) -> None:
    key = f"Bearer {await api_keys.create(api.resources, 'operations', ['operator'])}"
    nothing = dict.fromkeys(own_ids, "sub_nothing")
    for method, path in CHANGES:
        if "{" in path:
            assert (await call(api, method, path, nothing, key)).status_code == 404, path
    assert await rows(api.resources) == []
    cancel = ("POST", "/v1/subjects/{subject_id}/cancel")
    await api.http.post(cancel[1].format(**own_ids))
    assert (await call(api, *cancel, own_ids, key)).status_code == 200  # it was canceled before
    patch = ("PATCH", "/v1/subscribers/{subscriber_id}")
    await api.http.patch(patch[1].format(**own_ids), json=BODIES[patch[1]])
    assert (await call(api, *patch, own_ids, key)).status_code == 200  # it was the same before
    entries = {(entry["action"], entry["object_id"]) for entry in await rows(api.resources)}
    ids = (own_ids["subject_id"], own_ids["subscriber_id"])
    assert entries == {("contents_seen", id_) for id_ in ids}


STATES = """
    SELECT 'sub' || state FROM subjects UNION ALL SELECT 'dlv' || state FROM deliveries
    UNION ALL SELECT 'sbr' || version || state || description FROM subscribers
    UNION ALL SELECT 'cbk' || verdict || received_at FROM callbacks
    UNION ALL SELECT id FROM holds UNION ALL SELECT id FROM operations ORDER BY 1
"""


async def test_what_cannot_be_written_down_is_neither_done_nor_shown(
    api: Api,
    own_ids: dict[str, str],
    logged: list[EventDict],
) -> None:
    key = f"Bearer {await api_keys.create(api.resources, 'operations', ['operator'])}"
    finished = own_ids | {"subject_id": await subject_in_state(api, State.CANCELED)}
    before = await fetch(api.resources, STATES)
    await fetch(api.resources, "ALTER TABLE actions ADD CONSTRAINT never CHECK (id = '') NOT VALID")
    looks = [("GET", "/v1/events"), ("GET", "/v1/subscribers/{subscriber_id}")]
    for method, path in [*CHANGES, *looks]:
        ids = finished if KINDS.get((method, path)) == "subject_erased" else own_ids
        answer = await call(api, method, path, ids, key)
        assert answer.status_code == 500, (method, path)
    assert await fetch(api.resources, STATES) == before
    assert await rows(api.resources) == []
    logged.clear()


async def test_a_change_of_a_subscriber_is_told_without_contents_and_secrets(
    api: Api,
    own_ids: dict[str, str],
) -> None:
    key = await api_keys.create(api.resources, "operations", ["operator"])
    secrets = {
        "url": "http://127.0.0.1:65009/hidden",
        "description": "hidden",
        "headers": {"authorization": "Bearer hidden"},
    }
    answer = await api.http.patch(
        f"/v1/subscribers/{own_ids['subscriber_id']}",
        json=secrets | {"state": "paused", "tags": ["o_102"], "concurrency": 3},
        headers={"authorization": f"Bearer {key}"},
    )
    assert answer.status_code == 200, answer.text
    entry = await newest(api.resources, 0)
    assert json.loads(entry["before"]) == {"state": "active", "tags": None, "concurrency": None}
    assert json.loads(entry["after"]) == {
        "state": "paused",
        "tags": ["o_102"],
        "concurrency": 3,
        "changed": ["url", "description", "headers"],
    }
    assert "hidden" not in str(entry)


READS = sorted(
    path for method, path in NEEDS.keys() - OWN if method == "GET" and NEEDS["GET", path]
)


async def test_looks_at_another_accounts_contents_are_written_before_the_answer(
    api: Api,
    own_ids: dict[str, str],
    clock: Clock,
) -> None:
    key = await api_keys.create(api.resources, "operations", ["operator"])
    own = await api_keys.create(api.resources, "acme", SCOPES)
    looked = []
    for path in READS:
        clock.advance(1)
        before = len(await rows(api.resources))
        answer = await call(api, "GET", path, own_ids, f"Bearer {key}")
        if answer.status_code == 404:
            continue
        assert answer.is_success, (path, answer.text)
        if len(await rows(api.resources)) == before:
            continue
        entry = await newest(api.resources, before)
        looked.append(path)
        assert entry["action"] == "contents_seen"
        assert json.loads(entry["after"]) == {"path": path.format(**own_ids)}
        named = re.findall(r"{(\w+)}", path)
        assert entry["object_id"] == (own_ids[named[0]] if named else None)
        before += 1
        if named and named[0] != "callback_id":
            assert (await call(api, "GET", path, own_ids, f"Bearer {own}")).is_success
            assert len(await rows(api.resources)) == before, path
    assert set(looked) == {
        "/v1/subjects",
        "/v1/subjects/{subject_id}",
        "/v1/subjects/{subject_id}/events",
        "/v1/events",
        "/v1/subscribers",
        "/v1/subscribers/{subscriber_id}",
        "/v1/callbacks/{callback_id}",
    }


async def test_a_stream_is_looked_at_once(api: Api) -> None:
    await api.create()
    key = await api_keys.create(api.resources, "operations", ["operator"])
    async with (
        web_server(api.resources) as server,
        open_stream(server.port, "/v1/events?after=0-0", key) as stream,
    ):
        await stream.frame()
        assert (await newest(api.resources, 0))["action"] == "contents_seen"
        await api.create()
        await stream.frame()
        await newest(api.resources, 0)


async def by_command(resources: Resources) -> list[tuple[str, str | None]]:
    """What commands have done, and to what, the oldest first; each by a user, on a host."""
    entries = await rows(resources)
    for entry in entries:
        actor = json.loads(entry["actor"])
        assert (actor["kind"], actor["key_id"]) == ("command", None)
        assert actor["name"]
        assert actor["origin"]
        assert entry["request_id"] is None
    return [(entry["action"], entry["object_id"]) for entry in entries]


async def test_commands_that_change_keys_are_written_once_and_no_key_is(
    api: Api, environ: dict[str, str]
) -> None:
    made = await run(environ, "keys", "create", "--account", "acme", "--name", "Ada's")
    pair = await run(environ, "keys", "create", "--account", "acme", "--pair")
    (_, key_id, key), (_, pair_id, *keys) = (done.stdout.split() for done in (made, pair))
    for _ in range(2):  # the second time it is revoked already
        revoked = await run(environ, "keys", "revoke", key_id)
        assert revoked.stdout.endswith(" revoked Ada's\n")
    done = [("key_created", key_id), ("key_created", pair_id), ("key_revoked", key_id)]
    assert await by_command(api.resources) == done
    written = str(await rows(api.resources))
    assert not [secret for secret in (key, *keys) if secret in written]


async def test_commands_that_change_secrets_are_written_once_and_no_secret_is(
    api: Api, environ: dict[str, str]
) -> None:
    added = [await run(environ, "secrets", "add", given=ANOTHER) for _ in range(2)]
    secret_id, again = (done.stdout.split()[0] for done in added)
    assert again == secret_id  # it was there already
    await run(environ, "secrets", "remove", secret_id)
    await run(environ, "reencrypt")
    assert await by_command(api.resources) == [
        ("secret_added", secret_id),
        ("secret_removed", secret_id),
        ("secrets_reencrypted", None),
    ]
    written = str(await rows(api.resources))
    assert not [secret for secret in (ANOTHER, WEBHOOK_SECRET) if secret in written]


async def test_commands_that_hold_and_release_are_written_once(
    api: Api, environ: dict[str, str]
) -> None:
    held = await run(environ, "hold", "intake", "--reason", "maintenance")
    hold_id = held.stdout.splitlines()[-1]
    await run(environ, "release", hold_id)
    assert await by_command(api.resources) == [("held", hold_id), ("released", hold_id)]


@pytest.mark.parametrize("given", [["--json"], []], ids=["json", "lines"])
async def test_the_log_is_listed_by_a_command(
    api: Api, environ: dict[str, str], given: list[str]
) -> None:
    await api_keys.create(api.resources, "acme", ["operator"])
    await run(environ, "reencrypt")
    await run(environ, "keys", "create", "--account", "acme")
    done = await run(environ, "actions", *given, "--action", "key_created")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "key_created" in line
    assert "acme" in line
    if given:
        assert json.loads(line)["actor"]["kind"] == "command"
