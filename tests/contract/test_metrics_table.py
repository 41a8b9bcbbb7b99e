"""The table of metrics in deploy/README.md is what web and worker show after one flow, both ways:
names, types, labels and meanings. Alerts, dashboards and other documents are held to that table.
"""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import service
from service.local.ports import HOST, free_port
from service.local.stack import Stack
from tests.chaos.world import RunningService, stack_with_short_leases, until
from tests.support.event_streams import open_stream
from tests.support.scrapes import Scrape, read_text
from tests.support.webhook_receiver import WebhookReceiver

README = Path(service.__file__).parent.parent / "deploy" / "README.md"
ROW = re.compile(r"\| `(\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) \| (.+) \|")
# What a quiet installation has nothing to say of; and the next snapshot is due at once.
STOP = (
    "UPDATE provider_state SET stopped_code = 1102, stopped_message = 'pack', next_probe_at = NULL"
)
AUDIT = "UPDATE snapshot SET audit = '{\"feed_order\": 0}', audited_at = now(), taken_at = NULL"
WEB, WORKER = free_port(), free_port()


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """What is told of a metric."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    def __str__(self) -> str:
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{self.name}` | {self.type} | {labels} | {self.meaning} |"


def documented() -> set[Row]:
    """The rows of the table."""
    return {
        Row(name, type_, tuple(re.findall(r"\w+", labels)), meaning)
        for name, type_, labels, meaning in ROW.findall(README.read_text())
    }


def shown(scrapes: Sequence[Scrape]) -> set[Row]:
    """The same of what these scrapes have values of."""
    return {
        Row(
            family.name + "_total" * (family.type == "counter"),
            family.type,
            scrape.labels(family.name),
            family.documentation,
        )
        for scrape in scrapes
        for family in scrape.families.values()
        if family.samples
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("metrics")
    with stack_with_short_leases(folder, inner_port=f"{WEB},{WORKER}") as started:
        yield started


@pytest.fixture
async def world(running: Stack) -> AsyncIterator[RunningService]:
    async with RunningService.open(running) as opened:
        yield opened


async def scrape(port: int) -> Scrape:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://{HOST}:{port}/metrics")
    return read_text(answer.raise_for_status().text)


async def stopped(world: RunningService) -> Scrape:
    """What is shown while the provider has stopped submission, and once there was an audit."""
    found: list[Scrape] = []

    async def is_shown() -> bool:
        found.append(await scrape(WORKER))
        family = found[-1].families.get("callsheet_submission_stopped_info")
        return bool(family and family.samples)

    await world.fetch(STOP)
    await world.fetch(AUDIT)
    await until(is_shown)
    return found[-1]


async def one_flow(world: RunningService, subscriber: WebhookReceiver) -> None:
    """A subject from its request to its end, told to a subscriber and on a stream."""
    key = world.http.headers["authorization"].removeprefix("Bearer ")
    answer = await world.http.post("/v1/subscribers", json={"url": subscriber.url})
    answer.raise_for_status()
    async with open_stream(world.http.base_url.port or 0, "/v1/events", key) as stream:
        await world.wait_until_finished(await world.create())
        await stream.frames(3)
    await subscriber.wait_for(3)


async def test_the_table_has_what_web_and_worker_show_and_nothing_else(
    world: RunningService, subscriber: WebhookReceiver
) -> None:
    scrapes = [await stopped(world)]
    await one_flow(world, subscriber)
    scrapes += [await scrape(WEB), await scrape(WORKER)]
    rows = shown(scrapes)
    named = [name for scrape in scrapes for name in scrape.families]
    assert {row.name.removesuffix("_total") for row in rows} == set(named), "each has a value"
    assert documented() == rows, "\n".join(map(str, sorted(rows)))


async def test_a_key_for_metrics_scrapes_web_from_outside(world: RunningService) -> None:
    key = world.stack.make_key("monitoring", "metrics")
    headers = {"authorization": f"Bearer {key}"}
    outside = (await world.http.get("/metrics", headers=headers)).raise_for_status()
    inside = await scrape(WEB)
    assert read_text(outside.text).families.keys() == inside.families.keys()
