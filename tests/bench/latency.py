"""How long updates take: from a caller to the provider, and from the provider to a subscriber."""

import asyncio
import base64
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

import aiohttp
import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.kit.crypto.key_formats import parse_whsec
from service.kit.crypto.webhook_signatures import signature_headers
from service.local.stack import Stack, stack
from tests.bench import aims, cpu
from tests.bench.minimum_cost import minimum_cost
from tests.bench.rounds import CPU_HEAD, Measured
from tests.support.http_server import http_server
from tests.support.request_bodies import picture
from tests.support.waiting import wait_until

SAMPLES = 500
RATE = 100.0  # a second
# Every subject is with the provider at once, and nothing is asked for meanwhile.
SETTINGS = {"CALLSHEET_PROVIDER_PARALLEL": "100000", "CALLSHEET_POLL_AFTER": "3600"}
PATIENCE = 30.0  # seconds until the last sample must be in
ACCEPTED, CALLED_BACK = "accepted → provider has it", "callback received → subscriber has it"
# In Base64: given by URL, images are fetched first, which is not what is measured here. Different
# ones, as subjects with the same image would wait for each other to be written.
PICTURES = [base64.b64encode(picture(shade=shade)).decode() for shade in range(256)]


def request(number: int) -> dict[str, Any]:
    """A body of a request; its images are another one's only far from it."""
    frontal, refer = (PICTURES[(2 * number + at) % len(PICTURES)] for at in range(2))
    return {
        "element_name": f"bench {number}",
        "element_description": "a benchmark",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": frontal, "refer_images": [{"image_url": refer}]},
    }


def latencies() -> None:
    """From a caller to the provider, and from the provider to a subscriber."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", SETTINGS, keep=False) as running,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        url = running.env["CALLSHEET_DATABASE_URL"]
        floors = runner.run(minimum_cost(url, SAMPLES, RATE))
        rows = {
            ACCEPTED: runner.run(accepted_to_provider(running, SAMPLES, RATE)),
            CALLED_BACK: runner.run(callback_to_subscriber(running, SAMPLES, RATE)),
        }
        again = runner.run(minimum_cost(url, SAMPLES, RATE))
    _print(floors + again, rows)


def _print(floors: list[float], rows: Mapping[str, Measured]) -> None:
    base = median(floors)
    print(f"{SAMPLES} samples at {RATE:g} a second; milliseconds; default Postgres durability\n")
    print(f"{'':40}{'median':>9}{'p99':>9}{'x floor':>9}{CPU_HEAD}")
    print(_line("floor: one commit + one POST", floors, base))
    for name, measured in rows.items():
        print(f"{_line(name, measured.latencies, base)}   {cpu.shown(measured.cpu)}")
    times = median(rows[CALLED_BACK].latencies) / base
    print(f"{CALLED_BACK}, x floor: {aims.judged(times, aims.CALLBACK_TO_SUBSCRIBER)}")


def _line(name: str, samples: Sequence[float], base: float) -> str:
    middle = median(samples)
    return f"{name:40}{middle:9.2f}{quantiles(samples, n=100)[-1]:9.2f}{middle / base:9.2f}"


async def paced(samples: int, rate: float) -> AsyncIterator[int]:
    """Numbers from 0, one each 1/rate seconds, whatever the last one took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(samples):
        await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
        yield number


async def accepted_to_provider(stack: Stack, samples: int, rate: float) -> Measured:
    """Milliseconds from a caller's 202 to the provider's receipt of the subject."""
    accepted: dict[str, float] = {}
    async with _Caller(stack, "latency") as caller:
        await caller.set_provider(fetch_media=False, processing_after=3600, finished_after=3600)

        async def create(number: int) -> None:
            subject = await caller.create(number)
            accepted[subject["id"]] = time.time()

        before = _usage(stack)
        await _each(create, samples, rate)
        received = await caller.receipts(accepted)
        spent = cpu.each(before, _usage(stack), samples)
    delays = [(received[subject_id] - at) * 1000 for subject_id, at in accepted.items()]
    return Measured(rate, spent, delays)


async def callback_to_subscriber(stack: Stack, samples: int, rate: float) -> Measured:
    """Milliseconds from the sending of a signed callback to its event at the subscriber."""
    key = parse_whsec(stack.env["CALLSHEET_WEBHOOK_SECRETS"])
    sent: dict[str, float] = {}
    got: dict[str, float] = {}

    async def take(request: Request) -> Response:
        at = time.time()
        event = orjson.loads(await request.body())
        got[event["data"]["id"]] = at
        return Response()

    app = Starlette(routes=[Route("/", take, methods=["POST"])])
    async with http_server(app) as address, _Caller(stack, "callbacks") as caller:
        await caller.set_provider(fetch_media=False, processing_after=3600, finished_after=3600)
        made = [await caller.create(number) for number in range(samples)]
        await caller.receipts([subject["id"] for subject in made])
        known = [await caller.submitted(subject["id"]) for subject in made]
        await caller.subscribe(address + "/", ["subject.processing"])

        async def call_back(number: int) -> None:
            subject = known[number]
            sent[subject["id"]] = time.time()
            await caller.post_callback(key, subject)

        before = _usage(stack)
        await _each(call_back, samples, rate)
        await wait_until(lambda: len(got) == samples, PATIENCE)
        spent = cpu.each(before, _usage(stack), samples)
    return Measured(rate, spent, [(got[subject_id] - at) * 1000 for subject_id, at in sent.items()])


def _usage(stack: Stack) -> cpu.Usage:
    names = {"web": "web", "worker": "worker", "Postgres": "postgres"}
    return cpu.usage({shown: stack.child(name).pid for shown, name in names.items()})


async def _each(act: Callable[[int], Coroutine[Any, Any, None]], samples: int, rate: float) -> None:
    async with asyncio.TaskGroup() as group:
        async for number in paced(samples, rate):
            group.create_task(act(number))


class _Caller:
    """Somebody's back end, and the provider's hand that sends callbacks."""

    def __init__(self, stack: Stack, account: str) -> None:
        self._stack = stack
        key = stack.make_key(account)
        self._http = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}"}, connector=aiohttp.TCPConnector(limit=64)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def create(self, number: int) -> dict[str, Any]:
        return await self._post("/v1/subjects", request(number))

    async def subscribe(self, url: str, types: list[str]) -> None:
        await self._post("/v1/subscribers", {"url": url, "event_types": types})

    async def _post(self, path: str, body: object) -> dict[str, Any]:
        async with self._http.post(self._stack.base_url + path, json=body) as answer:
            answer.raise_for_status()
            read: dict[str, Any] = await answer.json()
            return read

    async def submitted(self, subject_id: str) -> dict[str, Any]:
        """The subject, once the provider's answer is on record."""
        async with asyncio.timeout(PATIENCE):
            while True:
                url = f"{self._stack.base_url}/v1/subjects/{subject_id}"
                async with self._http.get(url) as answer:
                    subject: dict[str, Any] = await answer.json()
                if subject["provider_task_id"]:
                    return subject
                await asyncio.sleep(0.05)

    async def post_callback(self, key: bytes, subject: Mapping[str, Any]) -> None:
        """A signed `processing`, as the provider sends it."""
        body = orjson.dumps(
            {
                "task_id": subject["provider_task_id"],
                "task_status": "processing",
                "task_info": {"external_task_id": subject["id"]},
                "updated_at": int(time.time() * 1000),
            }
        )
        signed = signature_headers([key], f"msg_{subject['id']}", int(time.time()), body)
        url = f"{self._stack.base_url}/callbacks"
        async with self._http.post(url, data=body, headers=signed) as answer:
            answer.raise_for_status()

    async def set_provider(self, **settings: object) -> None:
        url = f"{self._stack.simulator_url}/_simulator/settings"
        async with self._http.post(url, json=settings) as answer:
            answer.raise_for_status()

    async def receipts(self, subjects: Collection[str]) -> dict[str, float]:
        """When the provider received each, in Unix seconds, once it has them all."""
        received: dict[str, float] = {}
        async with asyncio.timeout(PATIENCE):
            while True:
                url = f"{self._stack.simulator_url}/_simulator/ledger"
                async with self._http.get(url) as answer:
                    creates = (await answer.json())["creates"]
                received = {create["external_task_id"]: create["at"] for create in creates}
                if received.keys() >= set(subjects):
                    return received
                await asyncio.sleep(0.2)
