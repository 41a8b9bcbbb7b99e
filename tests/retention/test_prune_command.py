"""`callsheet prune`: what would go is counted first, and then it is what goes."""

from datetime import timedelta

import pytest

from service import cli_operations
from service.cli_arguments import parser
from service.job_queue import write_moment
from service.resources import Resources
from service.retention.domain.kinds import Kind
from service.retention.steps import prune
from tests.retention.test_prune_subjects import BY_HAND, DAY, cancel, keeping, rows, succeed
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch
from tests.support.webhook_receiver import WebhookReceiver
from tests.test_command_line import run

AGED = "UPDATE {} SET {} = {} - CAST('{} days' AS interval) WHERE {} IS NOT NULL"


def printed(stdout: str) -> dict[str, int]:
    return {kind: int(number) for kind, number in map(str.split, stdout.splitlines())}


async def test_a_dry_run_says_what_would_go_and_changes_nothing(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    subscriber.answer = b"thank you"
    await api.subscribe(subscriber.url)
    await cancel(api)
    await succeed(api)
    clock.advance(200 * DAY)
    before = await rows(api.resources)
    counts = await prune.count(api.resources)
    assert await rows(api.resources) == before
    assert counts[Kind.SUCCEEDED] == counts[Kind.CANCELED] == 1
    assert counts[Kind.CALLBACKS] > 0
    assert counts[Kind.ANSWERS] > 0
    done = await prune.prune(api.resources, actor=BY_HAND)
    assert +done.counts == {kind: number for kind, number in counts.items() if number}


async def test_the_command_counts_prunes_and_is_in_the_action_log(
    api: Api, environ: dict[str, str]
) -> None:
    await cancel(api)
    await fetch(api.resources, AGED.format("subjects", "finished_at", "finished_at", 31, "id"))
    environ = environ | {"CALLSHEET_PUBLIC_URL": api.resources.settings.public_url}
    dry = await run(environ, "prune", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert printed(dry.stdout).keys() == set(Kind)
    assert printed(dry.stdout)["canceled"] == 1
    assert await fetch(api.resources, "SELECT action FROM actions") == []
    done = await run(environ, "prune")
    assert (done.returncode, printed(done.stdout)) == (0, printed(dry.stdout))
    assert (await rows(api.resources))["subjects"] == 0
    assert await fetch(api.resources, "SELECT action FROM actions") == [{"action": "pruned"}]


async def test_nothing_goes_of_a_restored_database_that_no_process_has_found_out(
    api: Api, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    await cancel(api)
    clock.advance(200 * DAY)
    redis_url = api.resources.settings.redis_url
    assert redis_url is not None
    (row,) = await fetch(api.resources, "SELECT installation_id FROM installation")
    await write_moment(redis_url, row["installation_id"], clock())
    assert await cli_operations.prune(api.resources, parser().parse_args(["prune"])) == 1
    assert "was restored" in capsys.readouterr().err
    assert (await rows(api.resources))["subjects"] == 1


async def test_answers_go_sooner_and_their_attempts_stay(
    api: Api, clock: Clock, subscriber: WebhookReceiver
) -> None:
    subscriber.answer = b"thank you"
    await api.subscribe(subscriber.url)
    await succeed(api)
    answers = "SELECT response_body FROM attempts"
    kept = [{"response_body": b"thank you"}] * (await rows(api.resources))["attempts"]
    clock.advance(14 * DAY)
    await prune.prune(api.resources)
    assert await fetch(api.resources, answers) == kept
    clock.advance(1)
    await prune.prune(keeping(api, retention_answers_days=0))
    assert await fetch(api.resources, answers) == kept
    await prune.prune(api.resources)
    assert await fetch(api.resources, answers) == [{"response_body": b""}] * len(kept)


async def test_minutes_of_the_snapshot_go_at_their_age(resources: Resources, clock: Clock) -> None:
    add = "INSERT INTO stage_snapshots (minute, stage, items) VALUES ($1, 'queued', 0)"
    for days in (1.9, 2.1):
        await fetch(resources, add, clock() - timedelta(days=days))
    assert (await prune.prune(resources)).counts == {Kind.SNAPSHOT: 1}


async def test_events_about_subscribers_go_with_the_oldest_subjects_but_not_while_pending(
    api: Api, clock: Clock
) -> None:
    subscriber = await api.subscribe("http://127.0.0.1:65009/")
    (account,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'acme'")
    number = subscriber["id"].removeprefix("sbr_")
    await fetch(
        api.resources,
        "INSERT INTO events (id, about_subscriber_id, account_id, sequence, type, body, created_at)"
        " VALUES ($1, $2, $3, 1, 'callsheet.subscriber.failing', '', $4)",
        *(f"evt_{number}_1", subscriber["id"], account["id"], clock()),
    )
    await fetch(
        api.resources,
        "INSERT INTO deliveries (id, event_id, subscriber_id, ordering_key, sequence, state,"
        " due_at, created_at) VALUES ($1, $2, $3, $2, 1, 'pending', $4, $4)",
        *(f"dlv_{number}_1_{number}", f"evt_{number}_1", subscriber["id"], clock()),
    )
    clock.advance(180 * DAY + 1)
    assert not (await prune.prune(api.resources)).counts
    await fetch(
        api.resources,
        "UPDATE deliveries SET state = 'delivered', due_at = NULL, finished_at = $1",
        clock(),
    )
    clock.advance(-2)
    assert not (await prune.prune(api.resources)).counts
    clock.advance(2)
    assert (await prune.prune(api.resources)).counts == {
        Kind.SUBSCRIBER_EVENTS: 1,
        Kind.DELIVERIES: 1,
    }
