"""Callbacks lost, repeated, turned round, early and forged, from a seed, while the web is killed
repeatedly and Postgres is cut off: what got a 200 is stored, and nothing forged is accepted."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from service.local.stack import Stack
from tests.chaos.sender import CallbackSender, PostedCallback
from tests.chaos.world import (
    FlakyReceiver,
    RunningService,
    durable_stack_with_short_leases,
    flaky_receiver,
    until,
)
from tests.support.request_bodies import request_body

SEED = 20261123
SUBJECTS = 300
CALLERS = 12  # who create them
SENDERS = 4
LOST = 0.3
# What befalls a subject's callbacks beside the loss, each with its probability; they add up.
TROUBLES: tuple[tuple[float, dict[str, object]], ...] = (
    (0.4, {"duplicate": 2}),
    (0.2, {"duplicate": 3, "fresh_ids": True}),
    (0.3, {"reorder": True}),
    (0.25, {"before_answer": 1, "delay": 0.2, "reorder": False}),
    (0.15, {"forge": True}),
    (0.05, {"skew": 900}),
    (0.3, {"shape": "current"}),
    (0.2, {"fail": "the face is not to be seen"}),
)
# The processes that are restarted, one after another; those listed together at once.
RESTARTS = (
    *(("web",), ("web",), ("web", "postgres"), ("web",)),
    *(("postgres",), ("web",), ("web",), ("web",)),
)
BETWEEN = 15  # callbacks that get a 200 between two restarts, at least
STORED = """
    SELECT dedup_key, encode(sha256(body), 'hex') AS sha256, times_received FROM callbacks
    WHERE verdict <> 'rejected'
"""
WORDS = {"succeed": "succeeded", "failed": "failed"}
SETTINGS = {
    "provider_parallel": "1000",
    "polls_per_second": "200",
    "delivery_timeout": "1",
    "delivery_schedule": ",".join(["0.2"] * 100),
}


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with durable_stack_with_short_leases(
        tmp_path_factory.mktemp("callback storm"), **SETTINGS
    ) as started:
        yield started


def rules(rng: random.Random) -> dict[str, dict[str, object]]:
    """What goes wrong with each subject's task, by the subject's name, and how long it takes."""
    made: dict[str, dict[str, object]] = {}
    for number in range(SUBJECTS):
        begins = rng.uniform(1, 4)
        rule: dict[str, object] = {
            "element_name": f"subject {number}",
            "times": None,
            "lose_share": LOST,
            "callback_delay": rng.uniform(0, 0.2),
            "processing_after": begins,
            "finished_after": begins + rng.uniform(3, 6),
        }
        for probability, trouble in TROUBLES:
            if rng.random() < probability:
                rule |= trouble
        made[f"subject {number}"] = rule
    return made


async def create(world: RunningService, names: Sequence[str], made: dict[str, str]) -> None:
    """One subject after the other, each until it is accepted; their names by their ids."""
    body = request_body()
    for name in names:
        made[await world.create_until_accepted(body | {"element_name": name}, key=name)] = name


async def restart_processes(stack: Stack, sender: CallbackSender, rng: random.Random) -> None:
    """Restart processes now and then, in the middle of the callbacks."""
    for names in RESTARTS:
        await sender.wait_for_more(BETWEEN)
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        await asyncio.gather(*(asyncio.to_thread(stack.child(name).restart) for name in names))


async def storm(
    world: RunningService, receiver: FlakyReceiver, sender: CallbackSender, rng: random.Random
) -> dict[str, str]:
    """The names of the subjects that were made in it, by their ids; all have ended."""
    made: dict[str, str] = {}
    names = [f"subject {number}" for number in range(SUBJECTS)]

    async def many_are_made() -> bool:
        return len(made) >= SUBJECTS / 3

    async def all_have_ended() -> bool:
        return len(made) == SUBJECTS and all(
            receiver.has_final_state(subject_id) for subject_id in made
        )

    async with asyncio.TaskGroup() as group:
        for first in range(CALLERS):
            group.create_task(create(world, names[first::CALLERS], made))
        sending = [group.create_task(sender.send_until_cancelled()) for _ in range(SENDERS)]
        await until(many_are_made)
        await restart_processes(world.stack, sender, rng)
        await until(all_have_ended)
        for task in sending:
            task.cancel()
    return made


async def all_subjects(world: RunningService) -> dict[str, dict[str, Any]]:
    """All subjects by id, as their caller reads them."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        after = f"&cursor={cursor}" if cursor else ""
        page = (await world.http.get(f"/v1/subjects?limit=200{after}")).json()
        found += page["data"]
        cursor = page["next_cursor"]
    return {subject["id"]: subject for subject in found}


async def ends_at_the_provider(world: RunningService) -> dict[str, tuple[str, str, str | None]]:
    """Its task, how that ended and what came of it, for each subject."""
    tasks = await world.provider_records(pageNum=1, pageSize=500)
    return {
        task["task_info"]["external_task_id"]: (
            task["task_id"],
            WORDS[task["task_status"]],
            str(task["task_result"]["elements"][0]["element_id"])
            if task["task_status"] == "succeed"
            else None,
        )
        for task in tasks
    }


def by_provider(book: dict[str, Any], forgers: set[str]) -> list[PostedCallback]:
    """What the provider itself posted; of the subjects of `forgers`, nothing genuine."""
    return [
        PostedCallback(
            kind="forged by the provider"
            if callback["external_task_id"] in forgers
            else "the provider",
            id=callback["id"],
            sha256=callback["sha256"],
            genuine=callback["external_task_id"] not in forgers,
            answer=callback["answer"] if callback["outcome"] == "answered" else None,
        )
        for callback in book["callbacks"]
        if callback["outcome"] != "lost"
    ]


def wrong_answers(posted: list[PostedCallback]) -> Counter[tuple[str, int | None]]:
    """How often each wrong answer was given; no answer, or a 503, is never wrong."""
    return Counter(
        (callback.kind, callback.answer)
        for callback in posted
        if callback.answer not in {200 if callback.genuine else 401, 503, None}
    )


def lost_callbacks(
    posted: list[PostedCallback], stored: list[dict[str, Any]]
) -> set[PostedCallback]:
    """Callbacks that got a 200 and are not stored with their bytes, or counted too seldom."""
    answered = Counter(callback.id for callback in posted if callback.answer == 200)
    times_received = {(row["dedup_key"], row["sha256"]): row["times_received"] for row in stored}
    return {
        callback
        for callback in posted
        if callback.answer == 200
        and times_received.get((callback.id, callback.sha256), 0) < answered[callback.id]
    }


def accepted_forgeries(
    posted: list[PostedCallback], stored: list[dict[str, Any]]
) -> set[PostedCallback]:
    """Forged callbacks that are stored as genuine ones."""
    stored_keys = {(row["dedup_key"], row["sha256"]) for row in stored}
    genuine = {(callback.id, callback.sha256) for callback in posted if callback.genuine}
    return {
        callback for callback in posted if (callback.id, callback.sha256) in stored_keys - genuine
    }


@pytest.mark.timeout(150)
async def test_after_a_storm_of_callbacks_what_got_a_200_is_stored_and_no_forgery_accepted(
    running: Stack,
) -> None:
    rng = random.Random(SEED)  # noqa: S311 - the same storm every time
    async with RunningService.open(running) as world, flaky_receiver(world) as receiver:
        faults = rules(rng)
        await world.add_faults(list(faults.values()))
        await world.change_simulator_settings(callback_retries=[0.5, 1, 2, 4])
        sender = CallbackSender(world, receiver, rng)
        made = await storm(world, receiver, sender, rng)
        await until(world.no_delivery_pending)

        subjects = await all_subjects(world)
        assert {
            id_: (
                subject["provider_task_id"],
                subject["state"],
                (subject["subject"] or {}).get("element_id"),
            )
            for id_, subject in subjects.items()
        } == await ends_at_the_provider(world)
        assert [
            id_
            for id_, subject in subjects.items()
            if not receiver.is_in_order(id_, subject["version"])
        ] == []

        book = await world.ledger()
        forgers = {id_ for id_, name in made.items() if {"forge", "skew"} & set(faults[name])}
        posted = sender.posted + by_provider(book, forgers)
        stored = await world.fetch(STORED)
        assert wrong_answers(posted) == {}
        assert lost_callbacks(posted, stored) == set()
        assert accepted_forgeries(posted, stored) == set()
        # The storm was one: each kind of callback had its answer, and so many never came.
        answers = {
            callback.kind: callback.answer for callback in posted if callback.answer in {200, 401}
        }
        assert set(answers) == {*sender.writers, "the provider", "forged by the provider"}
        assert book["counts"]["callbacks_lost"] == pytest.approx(3 * SUBJECTS * LOST, abs=1)
        assert world.violations() == "0 violations"
        assert world.faults_logged() == []
    assert [child.command.name for child in running.supervisor.ended()] == []
