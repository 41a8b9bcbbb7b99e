"""Transactions are whole; transient errors are told apart from faults of ours."""

import traceback

import asyncpg
import pytest
from sqlalchemy import text

from service.accounts.store import api_keys
from service.kit.errors import Unavailable
from service.local.ports import free_port
from service.resources import Resources
from tests.conftest import WEBHOOK_SECRET, database
from tests.support.database import fetch
from tests.support.database_access import open_database

TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def add_account(resources: Resources, name: str) -> None:
    async with resources.database.transaction() as tx:
        await api_keys.ensure_account(tx, account_id=name, name=name, now=resources.clock())
        assert await api_keys.account_id_by_name(tx, name) == name
        if name == "bad":
            raise LookupError


async def test_a_transaction_is_whole_or_not_at_all(resources: Resources) -> None:
    await add_account(resources, "good")
    with pytest.raises(LookupError):
        await add_account(resources, "bad")
    assert [row["id"] for row in await fetch(resources, "SELECT id FROM accounts")] == ["good"]


async def test_a_rehearsal_leaves_nothing_behind(resources: Resources) -> None:
    async with resources.database.transaction(commit=False) as tx:
        await api_keys.ensure_account(tx, account_id="a", name="a", now=resources.clock())
        assert await api_keys.account_id_by_name(tx, "a") == "a"
    assert await fetch(resources, "SELECT id FROM accounts") == []


async def test_a_statement_by_itself_is_its_own_transaction(resources: Resources) -> None:
    async with resources.database.autocommit() as tx:
        await api_keys.ensure_account(tx, account_id="a", name="a", now=resources.clock())
        assert len(await fetch(resources, "SELECT id FROM accounts")) == 1


async def test_each_relaxed_statement_is_its_own_transaction(resources: Resources) -> None:
    insert = text("INSERT INTO accounts (id, name, created_at) VALUES (:id, :id, now())")
    async with resources.database.relaxed() as tx:
        await tx.execute(insert, {"id": "a"})
        assert len(await fetch(resources, "SELECT id FROM accounts")) == 1
        assert await tx.scalar(text("SHOW synchronous_commit")) == "off"


async def test_what_cannot_be_reached_or_entered_is_unavailable(database_url: str) -> None:
    user, _, place = database_url.rpartition("@")
    for url in (
        f"{user}@127.0.0.1:{free_port()}/x",
        f"{user.rpartition(':')[0]}:wrong@{place}",
        database(database_url, "callsheet_no_such"),
    ):
        async with open_database(url) as unreachable:
            with pytest.raises(Unavailable):
                async with unreachable.transaction():
                    pass
            with pytest.raises(Unavailable):
                async with unreachable.autocommit():
                    pass


async def look_up_with_lock_timeout(resources: Resources) -> None:
    async with resources.database.transaction() as tx:
        await tx.execute(text("SET LOCAL lock_timeout = '10ms'"))
        await api_keys.account_id_by_name(tx, "a")


async def test_a_lock_that_is_not_had_in_time_is_unavailable(resources: Resources) -> None:
    async with resources.database.transaction() as holder:
        await holder.execute(text("LOCK TABLE accounts"))
        with pytest.raises(Unavailable):
            await look_up_with_lock_timeout(resources)


async def look_up_after_termination(resources: Resources) -> None:
    async with resources.database.transaction() as tx:
        await fetch(resources, TERMINATE)
        await api_keys.account_id_by_name(tx, "a")


async def test_connections_that_were_cut_are_replaced(resources: Resources) -> None:
    await add_account(resources, "a")
    with pytest.raises(Unavailable):
        await look_up_after_termination(resources)
    await add_account(resources, "b")


async def test_json_goes_in_and_comes_out_as_it_is(resources: Resources) -> None:
    statement = text("SELECT CAST(:one AS text), CAST(:two AS jsonb), CAST(:three AS json)")
    async with resources.database.transaction() as tx:
        (found,) = await tx.execute(statement, {"two": {"a": [1]}, "three": [], "one": "first"})
    assert tuple(found) == ("first", {"a": [1]}, [])


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1/0", asyncpg.DivisionByZeroError),
        ("SELECT nonsense", asyncpg.UndefinedColumnError),
        ("DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", Unavailable),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", Unavailable),
    ],
)
async def test_what_passes_is_told_from_a_fault_of_ours(
    resources: Resources, statement: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        async with resources.database.transaction() as tx:
            await tx.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT nonsense", asyncpg.UndefinedColumnError),
        (
            "INSERT INTO accounts (id, name, created_at) VALUES ('b', 'a', now())",
            asyncpg.UniqueViolationError,
        ),
    ],
)
async def test_a_fault_of_ours_is_not_taken_for_a_passing_one(
    resources: Resources, statement: str, kind: type[Exception]
) -> None:
    await add_account(resources, "a")
    with pytest.raises(kind):
        async with resources.database.transaction() as tx:
            await tx.execute(text(statement))


async def test_an_error_does_not_show_its_parameters(resources: Resources) -> None:
    statement = text("SELECT nonsense FROM accounts WHERE id = :id")
    with pytest.raises(asyncpg.UndefinedColumnError) as caught:
        async with resources.database.transaction() as tx:
            await tx.execute(statement, {"id": WEBHOOK_SECRET})
    assert WEBHOOK_SECRET not in "".join(traceback.format_exception(caught.value))


async def test_an_address_may_say_how_to_encrypt_as_postgres_does(database_url: str) -> None:
    async with (
        open_database(f"{database_url}?sslmode=disable") as database,
        database.transaction() as tx,
    ):
        assert await tx.scalar(text("SELECT 1")) == 1
