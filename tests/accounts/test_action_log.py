"""The action log: who did what, found by an index, and kept for a while."""

from argparse import Namespace
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from service import cli_operations
from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor, ActorKind
from service.accounts.steps import action_log
from service.accounts.store import actions
from service.accounts.store.actions import ActionFilter, ActionRecord
from service.resources import Resources
from tests.support.clock import Clock
from tests.support.database import executed_statements, query_plan, table_scans

EVERYTHING = ActionFilter()
ACTOR = Actor(ActorKind.KEY, "operations", "127.0.0.1", "key_1", "Ada's")


async def write(resources: Resources, *written: Action, actor: Actor | None = ACTOR) -> None:
    for action in written:
        await action_log.record_alone(resources, actor, action)


async def walked(
    resources: Resources, criteria: ActionFilter = EVERYTHING, limit: int = 50
) -> list[ActionRecord]:
    """All entries that a list has, page by page."""
    found: list[ActionRecord] = []
    while True:
        page, after = await action_log.page(resources, criteria, limit)
        found += page
        if after is None:
            return found
        criteria = replace(criteria, after=after)


async def test_an_entry_says_who_did_what_to_what(resources: Resources, account: str) -> None:
    changed = Action(ActionKind.KEY_REVOKED, "key_2", account, {"state": "a"}, {"state": "b"})
    await write(resources, changed)
    (entry,) = await walked(resources)
    assert entry.id.startswith("act_")
    assert entry.at == resources.clock()
    assert entry.actor == {
        "kind": "key",
        "name": "operations",
        "origin": "127.0.0.1",
        "key_id": "key_1",
        "key_name": "Ada's",
        "session": None,
    }
    assert (entry.action, entry.object_id, entry.account) == ("key_revoked", "key_2", "acme")
    assert (entry.before, entry.after) == ({"state": "a"}, {"state": "b"})


async def test_a_line_for_people_shows_nothing_that_hides_or_reverses_text(
    resources: Resources, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller's external id is in the path of the provider's that was looked at."""
    seen = {"path": "/v1/general/advanced-custom-elements/a\u202eb"}
    await write(resources, Action(ActionKind.CONTENTS_SEEN, "a\u202eb", None, after=seen))
    given = Namespace(since=None, object=None, account=None, action=None, json=None)
    assert await cli_operations.list_actions(resources, given) == 0
    line = capsys.readouterr().out.rstrip("\n")
    assert line.isprintable()
    assert line.count("a\\u202eb") == 2


async def test_without_an_actor_nothing_is_written(resources: Resources) -> None:
    await write(resources, Action(ActionKind.KEY_REVOKED), actor=None)
    assert await walked(resources) == []


async def test_whoever_runs_a_command_is_named_by_user_and_host() -> None:
    actor = action_log.command_line()
    assert actor.kind is ActorKind.COMMAND
    assert actor.name
    assert actor.origin
    assert actor.key_id is None


async def test_filters_narrow_and_pages_neither_skip_nor_repeat(
    resources: Resources, clock: Clock
) -> None:
    kinds = (ActionKind.HELD, ActionKind.RELEASED)
    for number in range(12):
        action = Action(kinds[number % 2], f"hld_{number % 3}", f"acc_{number % 4}")
        await write(resources, action)
        clock.advance(number % 2 * 0.0007)  # some share a millisecond
    everything = await walked(resources, limit=5)
    assert len(everything) == 12
    ids = [entry.id for entry in everything]
    assert ids == sorted(ids, reverse=True)
    middle = everything[6].at
    narrowed = {
        ActionFilter(object_id="hld_1"): [e for e in everything if e.object_id == "hld_1"],
        ActionFilter(action=ActionKind.HELD): [e for e in everything if e.action == "held"],
        ActionFilter(object_id="hld_1", action=ActionKind.HELD): [
            e for e in everything if (e.object_id, e.action) == ("hld_1", "held")
        ],
        ActionFilter(account_id="acc_0", action=ActionKind.RELEASED): [],
        ActionFilter(created_after=middle): [e for e in everything if e.at > middle],
        ActionFilter(created_before=middle): [e for e in everything if e.at < middle],
    }
    for criteria, expected in narrowed.items():
        assert await walked(resources, criteria, limit=2) == expected


async def test_every_list_is_read_by_an_index(resources: Resources) -> None:
    at = resources.clock()
    lists = {
        "pk_actions": ActionFilter(after="act_1", created_after=at, created_before=at),
        "ix_actions_object": ActionFilter(object_id="sub_1", account_id="acc_1"),
        "ix_actions_account": ActionFilter(account_id="acc_1", action=ActionKind.HELD),
        "ix_actions_action": ActionFilter(action=ActionKind.HELD, created_after=at),
    }
    with executed_statements() as statements:
        for criteria in lists.values():
            await action_log.page(resources, criteria, 50)
        async with resources.database.transaction() as tx:
            await actions.prune(tx, at, 1000)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        used = []
        for statement in statements:
            scans = list(table_scans(await query_plan(connection, statement)))
            assert all("Index Cond" in scan for scan in scans), [
                (s["Node Type"], s.get("Index Name"), s.get("Index Cond"), s.get("Filter"))
                for s in scans
            ]
            used.append(next(s["Index Name"] for s in scans if s["Relation Name"] == "actions"))
    finally:
        await connection.close()
    assert used == [*lists, "pk_actions"]


async def test_only_old_entries_are_pruned(resources: Resources, clock: Clock) -> None:
    await write(resources, Action(ActionKind.HELD, "hld_1"), Action(ActionKind.HELD, "hld_2"))
    clock.advance(10)
    await write(resources, Action(ActionKind.HELD, "hld_3"))
    for deleted in (1, 1, 0):
        async with resources.database.transaction() as tx:
            before = clock() - timedelta(seconds=5)
            assert await actions.prune(tx, before, limit=1) == deleted
    assert [entry.object_id for entry in await walked(resources)] == ["hld_3"]
