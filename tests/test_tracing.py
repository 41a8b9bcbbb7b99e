"""Traces: five kinds of spans, each a trace of its own, linked to the one that accepted."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from service.jobs import create_subject
from service.kit.opentelemetry_spans import make_span
from service.kit.tracing import span, use_spans
from service.subjects.domain.work import Work
from tests.conftest import SECRET_KEY
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.media_host import MediaHost, media_host
from tests.support.request_bodies import request_body
from tests.support.simulator import SimulatorClient
from tests.support.webhook_receiver import WebhookReceiver

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where the spans of this test end up."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_spans(partial(make_span, provider.get_tracer("a test")))
    yield exporter
    use_spans(None)
    provider.shutdown()


@pytest.fixture
async def host() -> AsyncIterator[MediaHost]:
    """Where the media of a subject are fetched from."""
    async with media_host() as made:
        yield made


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans of this name that have ended."""
    return [one for one in exporter.get_finished_spans() if one.name == name]


def subjects_of(spans: Sequence[ReadableSpan]) -> set[object]:
    """The subjects that these spans are about."""
    return {(one.attributes or {}).get("callsheet.subject.id") for one in spans}


def linked(one: ReadableSpan) -> list[int]:
    """The ids of the spans that it is linked to."""
    return [link.context.span_id for link in one.links]


def id_of(one: ReadableSpan) -> int:
    assert one.context is not None
    span_id: int = one.context.span_id
    return span_id


async def test_each_piece_of_work_is_a_trace_that_links_to_the_acceptance(
    api: Api,
    subscriber: WebhookReceiver,
    host: MediaHost,
    exporter: InMemorySpanExporter,
) -> None:
    await api.subscribe(subscriber.url)
    response = await api.http.post(
        "/v1/subjects",
        json=request_body(**host.images("front", "side")),
        headers={"traceparent": CALLER},
    )
    subject_id = response.json()["id"]
    await api.work()
    await api.wait_until_finished(subject_id)
    await api.work()
    (accepted,) = named(exporter, "accept")
    assert accepted.parent is not None
    assert (accepted.parent.trace_id, accepted.parent.span_id) == (TRACE, PARENT)
    assert accepted.kind is SpanKind.SERVER
    others = [one for one in exporter.get_finished_spans() if one is not accepted]
    assert {one.name for one in others} == {"check media", "submit", "callback", "deliver"}
    assert subjects_of([accepted, *others]) == {subject_id}
    for one in others:
        assert one.parent is None
        assert linked(one) == [id_of(accepted)]
        assert one.status.status_code is StatusCode.UNSET
    traces = {one.context.trace_id for one in others if one.context}
    assert len(traces) == len(others)
    assert TRACE not in traces


async def test_a_look_up_has_a_span(
    api: Api, provider: SimulatorClient, exporter: InMemorySpanExporter
) -> None:
    await provider.admin("faults", {"answer": "drop", "accept": True})
    made = await api.create()
    await api.work(Work.SUBMIT, Work.RECONCILE)
    (accepted,) = named(exporter, "accept")
    (looked_up,) = named(exporter, "look up")
    assert subjects_of([looked_up]) == {made["id"]}
    assert linked(looked_up) == [id_of(accepted)]


async def test_each_of_a_batch_and_each_job_is_accepted_in_a_span_of_its_own(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    body = {"subjects": [request_body(), request_body(element_name=""), request_body()]}
    response = await api.http.post("/v1/subjects/batch", json=body)
    first, _, third = response.json()["data"]
    result = await create_subject(api.resources, {"job_id": "j"}, "acme", request_body())
    ids = {made["subject"]["id"] for made in (first, third, result)}
    assert subjects_of(named(exporter, "accept")) == ids
    rows = await fetch(api.resources, "SELECT id, traceparent FROM subjects")
    assert len({row["traceparent"] for row in rows}) == 3


async def test_a_traceparent_that_is_none_is_ignored(
    api: Api, exporter: InMemorySpanExporter
) -> None:
    for given in ("", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "nonsense", "ff-1-1-1"):
        headers = {"traceparent": given}
        response = await api.http.post("/v1/subjects", json=request_body(), headers=headers)
        assert response.status_code == 202
    assert [one.parent for one in named(exporter, "accept")] == [None] * 4


async def test_a_refusal_is_a_failure_and_a_delivery_that_is_tried_again_is_none(
    api: Api, subscriber: WebhookReceiver, exporter: InMemorySpanExporter
) -> None:
    await api.http.post("/v1/subjects", json=request_body(element_name=""))
    (refused,) = named(exporter, "accept")
    assert (refused.status.status_code, refused.status.description) == (
        StatusCode.ERROR,
        "Invalid",
    )
    assert refused.events == ()  # an error's text may hold what nobody else should read
    subscriber.answers = [500]
    await api.subscribe(subscriber.url)
    await api.create()
    await api.work(Work.DELIVER)
    (failed,) = named(exporter, "deliver")
    assert (failed.attributes or {})["callsheet.outcome"] == "Answered"
    assert (await fetch(api.resources, "SELECT status FROM attempts")) == [{"status": 500}]
    assert failed.status.status_code is StatusCode.UNSET


async def test_nothing_is_kept_of_what_is_not_traced_or_not_sampled(api: Api) -> None:
    await api.create()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    use_spans(partial(make_span, provider.get_tracer("a test")))
    try:
        await api.create()
    finally:
        use_spans(None)
    assert await fetch(api.resources, "SELECT traceparent FROM subjects") == [
        {"traceparent": None},
        {"traceparent": None},
    ]


def test_without_tracing_every_span_is_the_same_nothing() -> None:
    with span("accept") as first, span("submit", server=True) as second:
        assert first is second
        assert not first.recording
        first.set(outcome="x")
        first.link("sub_1", CALLER)
        first.fail("why")


def test_a_command_that_is_to_trace_without_the_extra_says_what_it_needs() -> None:
    """Checked in a process of its own that cannot import OpenTelemetry."""
    script = (
        "import sys; sys.modules['opentelemetry'] = None;"
        "from service.cli import main; sys.exit(main(['web']))"
    )
    environ = {
        "CALLSHEET_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
        "CALLSHEET_PUBLIC_URL": "http://127.0.0.1",
        "CALLSHEET_SECRET_KEY": SECRET_KEY,
        "CALLSHEET_PROVIDER_API_KEY": "a-key",
        "CALLSHEET_TRACING": "true",
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env=environ,
        capture_output=True,
        check=False,
        timeout=50,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "This needs opentelemetry, as requirements-tracing.lock lists it."
    )
