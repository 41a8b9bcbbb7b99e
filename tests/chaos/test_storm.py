"""Everything goes wrong at once, from a seed: workers and webs killed and stopped, jobs lost, the
provider's answers and callbacks spoilt, a subscriber that fails. Then it must all add up."""

import asyncio
import base64
import os
import random
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from service.callbacks.domain.url_tokens import callback_token
from service.kit.crypto.encryption import Encryptor
from service.local.processes import Child
from service.local.stack import Stack
from service.story.domain.story_file import read_story
from service.subjects.domain.lifecycle import RANK, decide
from tests.chaos.world import LEASE, RunningService, flaky_receiver, stack_with_short_leases, until
from tests.support.log_lines import documented_actions, undocumented
from tests.support.request_bodies import request_body

SEED = 20261122
DESCRIPTION = "Whom nobody else is to read of."
SUBJECTS = 60
FAULTS = 8
PARALLEL = 6
# Every kind of trouble by the name of the subjects that meet it: the first of the provider's rules
# that matches a call is the only one.
TROUBLES: dict[str, dict[str, object]] = {
    "calm": {},
    "answer dropped": {"share": 0.5, "answer": "drop"},
    "answer late": {"delay": LEASE / 2},
    "callbacks lost": {"lose": True},
    "callbacks repeated": {"duplicate": 3, "reorder": True},
    "callbacks forged": {"forge": True},
    "callbacks first": {"before_answer": 1, "delay": 0.3},
    "too fast": {"share": 0.5, "code": 1302, "http_status": 429},
    "fails": {"fail": "the face is not to be seen"},
    "refused": {"code": 1301},
}
ENDS = {"fails": "failed", "refused": "failed"}
SETTINGS = {
    "provider_parallel": str(PARALLEL),
    "delivery_timeout": "1",
    "delivery_schedule": ",".join(["0.2"] * 30),
}


async def cause_fault(stack: Stack, rng: random.Random, workers: Sequence[Child]) -> None:
    """Kill or stop one process, and start it again or resume it."""
    worker = rng.choice(workers)
    match rng.choice(["kill worker", "stop worker", "kill web", "kill valkey"]):
        case "kill worker":
            await asyncio.to_thread(worker.restart)
        case "stop worker":
            worker.send(signal.SIGSTOP)
            await asyncio.sleep(LEASE * rng.uniform(0.2, 1.3))
            worker.send(signal.SIGCONT)
        case "kill web":
            await asyncio.to_thread(stack.child("web").restart)
        case _:
            await asyncio.to_thread(stack.child("valkey").restart)
    await asyncio.sleep(rng.uniform(0, 0.5))


def secrets_of(running: Stack, subject_ids: Iterable[str]) -> list[str]:
    """The secrets that the processes were started with, and what makes the callback addresses of
    these subjects unforgeable."""
    names = ("SECRET_KEY", "PROVIDER_API_KEY", "WEBHOOK_SECRETS")
    settings = [running.env[f"CALLSHEET_{name}"].removeprefix("whsec_") for name in names]
    encryptor = Encryptor(base64.b64decode(running.env["CALLSHEET_SECRET_KEY"]), os.urandom)
    key = encryptor.derive("callback addresses")
    return settings + [callback_token(key, id_).partition(".")[2] for id_ in subject_ids]


def check_logs(world: RunningService, secrets: Sequence[str]) -> None:
    """Each log line is one that deploy/README.md lists, and neither in them nor in an answer is a
    secret, a callback's or a subscriber's address, or what a subject is called."""
    lines = world.log_lines()
    actions = documented_actions()
    read = [orjson.loads(line) for line in lines]
    assert [line for line in read if undocumented(line, actions)] == []
    logged = {line.get("action") for line in read}
    assert {"transition", "polled", "delivery_attempted", "request_failed", "started"} <= logged
    hidden = [*secrets, DESCRIPTION, *(name for name in TROUBLES if " " in name)]
    text = "\n".join(lines)
    assert [secret for secret in hidden if secret in text] == []
    assert world.answers
    answered = "\n".join(world.answers)
    assert [secret for secret in secrets if secret in answered] == []


async def check_stories(world: RunningService, subjects: Mapping[str, Mapping[str, Any]]) -> None:
    """Each story's moves are those of the state machine, one after the other to the subject's end,
    and nothing that a subject held, and no address, stands in it."""
    for id_, subject in subjects.items():
        answer = await world.http.get(f"/v1/subjects/{id_}/story")
        moves = read_story(answer.content).moves
        by_law = [
            move for move in moves if move.signal and decide(move.before, move.signal) is move.after
        ]
        assert by_law == moves
        assert moves[-1].after == subject["state"]
        events = [event["type"] for event in answer.json()["events"][1:]]
        assert [f"subject.{move.after}" for move in moves if RANK[move.after]] == events
        addresses = ("127.0.0.1", "http:", "/callbacks")
        hidden = [DESCRIPTION, *addresses, *(name for name in TROUBLES if " " in name)]
        assert [text for text in hidden if text in answer.text] == []


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_with_short_leases(tmp_path_factory.mktemp("storm"), **SETTINGS) as started:
        yield started


@pytest.mark.timeout(150)
async def test_after_a_storm_everything_adds_up(running: Stack) -> None:
    rng = random.Random(SEED)  # noqa: S311 - the same storm every time
    async with RunningService.open(running) as world, flaky_receiver(world) as receiver:
        for name, rule in TROUBLES.items():
            if rule:
                await world.add_fault(element_name=name, times=None, **rule)
        workers = [running.child("worker"), running.add("worker-2", "worker")]
        workers[1].start()
        names = [list(TROUBLES)[number % len(TROUBLES)] for number in range(SUBJECTS)]
        rng.shuffle(names)

        async def load() -> dict[str, str]:
            """A subject every so often, as long as the storm lasts; some by jobs."""
            made = {}
            for number, name in enumerate(names):
                create = world.create_until_accepted if number % 5 else world.create_by_job
                body = request_body(name, element_description=DESCRIPTION)
                made[await create(body, f"key-{number}")] = name
                await asyncio.sleep(0.1)
            return made

        loading = asyncio.create_task(load())
        for _ in range(FAULTS):
            await cause_fault(running, rng, workers)
        made = await loading
        assert len(made) == SUBJECTS

        subjects = {subject_id: await world.wait_until_finished(subject_id) for subject_id in made}
        await until(world.no_delivery_pending)
        states = {subject_id: subject["state"] for subject_id, subject in subjects.items()}
        assert states == {
            subject_id: ENDS.get(name, "succeeded") for subject_id, name in made.items()
        }
        book = await world.ledger()
        creates = [
            create["external_task_id"]
            for create in book["creates"]
            if create["outcome"] == "accepted"
        ]
        assert len(creates) == len(set(creates))
        assert book["counts"]["peak_running"] <= PARALLEL
        disordered = {
            subject_id: receiver.accepted[subject_id]
            for subject_id, subject in subjects.items()
            if not receiver.is_in_order(subject_id, subject["version"])
        }
        assert disordered == {}
        assert world.violations() == "0 violations"
        await check_stories(world, subjects)
        hidden = [*secrets_of(running, subjects), receiver.path, *receiver.secrets]
        check_logs(world, hidden)
        assert [child.command.name for child in running.supervisor.ended()] == []
