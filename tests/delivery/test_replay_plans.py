"""What sends anew, and what lists deliveries, reads what it needs, however long the history is."""

from tests.schema.test_plans import EMPTIED, FILLED, unbounded
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements
from tests.support.webhook_receiver import WebhookReceiver

LISTED = "ix_deliveries_subscriber"  # from the cursor on, as many rows as a page looks through


async def all_of_it(api: Api, subscriber: WebhookReceiver, clock: Clock) -> None:
    """Every kind of replay, one delivery sent anew, a callback_url, and the lists."""
    await api.create(callback_url=subscriber.url)
    clock.advance(1)
    subscription = await api.subscribe(subscriber.url)
    path = f"/v1/subscribers/{subscription['id']}"
    for only in ("all", "missing", "failed"):
        for dry_run in (True, False):
            body = {"since": "2020-01-01T00:00:00Z", "only": only, "dry_run": dry_run}
            answer = await api.http.post(f"{path}/replay", json=body)
            assert answer.is_success, answer.text
    for params in ({}, {"state": "dead"}, {"event_id": "evt_none"}):
        answer = await api.http.get(f"{path}/deliveries", params=params)
        assert answer.is_success, answer.text
    (delivery,) = (await api.http.get(f"{path}/deliveries")).json()["data"]
    await api.http.get(f"/v1/deliveries/{delivery['id']}")
    assert (await api.http.post(f"/v1/deliveries/{delivery['id']}/resend")).is_success


async def test_no_statement_of_a_replay_or_a_list_reads_a_whole_table(
    api: Api, subscriber: WebhookReceiver, clock: Clock
) -> None:
    with executed_statements() as statements:
        await all_of_it(api, subscriber, clock)
    for tables in (EMPTIED, FILLED):
        wrong = await unbounded(api.resources, tables, statements)
        assert not [plan for plan in wrong if not plan.startswith(LISTED)], "\n".join(wrong)
