"""A held process claims nothing of any kind, and no claim can be made that forgets to ask."""

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import TextClause

import service
from service.cli_arguments import parser
from service.cli_operations import look_for_violations, show_usage
from service.installation.steps import note_moment
from service.installation.store.fence import AT_HOME
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.deliveries import deliveries_of
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver

# What passes over locked rows and is no claim of work, by module and name, and why that is.
NO_CLAIMS = {
    "callbacks.store.inbox": "bounds the callbacks that are kept",
    "delivery.store.record._MAKE_RETRIES_DUE": "follows an attempt that was made at home",
    "intake.store.idempotency._PRUNE": "deletes in transactions that rounds.enter lets in",
    "erasure.store.erase": "erases here, which is done by hand on a held database too",
    "erasure.store.erasures._RESUME": "follows an answer that the provider gave at home",
    "reconciliation.store.leases._RENEW": "renews what was claimed at home",
    "retention.store": "deletes in transactions that rounds.enter lets in",
    "subjects.store.transitions._WRITE_AND_KEEP": "writes what was decided by other statements",
    "subscribers.store.signing_keys": "deletes in transactions that rounds.enter lets in",
    "subscribers.store.subscribers": "follows a caller's request",
}


def statements() -> Iterator[tuple[str, str]]:
    """Every statement of the stores that passes over locked rows, by module and name."""
    for found in pkgutil.walk_packages(service.__path__, "service."):
        if ".store." not in found.name:
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            clauses = value.values() if isinstance(value, dict) else [value]
            for clause in clauses:
                if isinstance(clause, TextClause) and "SKIP LOCKED" in clause.text:
                    yield f"{found.name.removeprefix('service.')}.{name}", clause.text


def test_every_statement_that_passes_over_locked_rows_asks_first_or_is_no_claim() -> None:
    found = dict(statements())
    fenced = {name for name, sql in found.items() if AT_HOME in sql}
    known = {name for name in found if any(name.startswith(prefix) for prefix in NO_CLAIMS)}
    assert found.keys() - fenced == known
    assert all(any(name.startswith(prefix) for name in known) for prefix in NO_CLAIMS)
    assert {
        "submission.store.claim._CLAIM",
        "delivery.store.claim._CLAIM",
        "reconciliation.store.polls._CLAIM",
        "media.store.media_checks._CLAIM",
        "operations.store.operations._CLAIM",
        "erasure.store.erasures._CLAIM",
    } <= fenced


HELD = {
    "elsewhere": "UPDATE installation SET public_url = 'https://original.example'",
    "went back": "UPDATE installation SET held_reason = 'It went back.', held_since = now()",
    "before the next look": "UPDATE installation SET last_moment = '1969-12-31T23:59:49Z'",
}


@pytest.mark.parametrize("held", HELD)
async def test_a_held_process_submits_asks_and_tells_nothing_and_ends_nothing(
    api: Api, provider: SimulatorClient, subscriber: WebhookReceiver, clock: Clock, held: str
) -> None:
    await provider.admin("faults", {"lose": True, "processing_after": 600})
    submitted = await api.create()
    await api.work(Work.SUBMIT)
    made = await api.subscribe(subscriber.url)
    queued = await api.create()
    before = await provider.ledger(submitted["id"])
    await fetch(api.resources, HELD[held])
    clock.advance(timedelta(days=2).total_seconds())
    await api.work()
    assert await provider.ledger(submitted["id"]) == before
    assert not (await provider.ledger(queued["id"]))["creates"]
    assert subscriber.requests == []
    assert (await api.read(submitted["id"]))["state"] == "submitted"
    assert (await api.read(queued["id"]))["state"] == "queued"
    assert {delivery["state"] for delivery in await deliveries_of(api, made)} == {"pending"}


async def test_once_it_is_held_no_more_claims_go_on_at_once(api: Api) -> None:
    made = await api.create()
    await fetch(api.resources, HELD["went back"])
    await api.work()
    assert (await api.read(made["id"]))["state"] == "queued"
    await fetch(api.resources, "UPDATE installation SET held_reason = NULL, held_since = NULL")
    await api.work()
    await api.wait_until_finished(made["id"])


@pytest.mark.parametrize("held", HELD)
async def test_no_command_asks_the_provider_about_a_held_database(
    api: Api, capsys: pytest.CaptureFixture[str], held: str
) -> None:
    audit = parser().parse_args(["audit", "--against-provider"])
    usage = parser().parse_args(["usage", "--reconcile"])
    await note_moment.look(api.resources)
    assert await look_for_violations(api.resources, audit) == 0
    assert await show_usage(api.resources, usage) == 0
    await fetch(api.resources, HELD[held])
    capsys.readouterr()
    assert await look_for_violations(api.resources, audit) == 2
    assert await show_usage(api.resources, usage) == 2
    said = capsys.readouterr()
    assert said.out == ""
    one, other = said.err.splitlines()
    assert one.startswith("The provider is not asked while the database is held. ")
    assert one == other
