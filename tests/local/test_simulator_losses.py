"""Callbacks lost on the way, some of them; and what the ledger keeps of those that went out."""

import hashlib
import json

from tests.support.simulator import simulator
from tests.support.webhook_receiver import webhook_receiver

TASKS = 10


async def test_of_all_tasks_together_the_given_share_of_callbacks_is_lost() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"lose_share": 0.3, "times": None})
        for number in range(TASKS):
            await remote.create(external_task_id=f"task-{number}", callback_url=back.url)
            await remote.wait_until_finished(f"task-{number}")
        got = await back.wait_for(21)
        outcomes = [entry["outcome"] for entry in (await remote.ledger())["callbacks"]]
    assert outcomes.count("lost") == 9
    assert len(got) == 21
    assert len({json.loads(body)["task_id"] for _, body in got}) == TASKS


async def test_what_was_held_back_comes_even_if_the_end_is_lost() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"reorder": True, "lose": ["succeed"]})
        await remote.create(callback_url=back.url)
        got = await back.wait_for(2)
    assert [json.loads(body)["task_status"] for _, body in got] == ["processing", "submitted"]


async def test_the_ledger_knows_every_attempt_by_its_id_and_its_bytes() -> None:
    async with webhook_receiver(500) as back, simulator() as remote:
        await remote.create(external_task_id="a", callback_url=back.url)
        got = await back.wait_for(4)
        entries: list[dict[str, object]] = []
        while len(entries) < 4:
            entries = (await remote.ledger("a"))["callbacks"]
    came = [(headers["webhook-id"], hashlib.sha256(body).hexdigest()) for headers, body in got]
    assert sorted((entry["id"], entry["sha256"]) for entry in entries) == sorted(came)
