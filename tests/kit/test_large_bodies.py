"""Bodies that may be large: on disk while they come and wait, in memory one at a time."""

import asyncio
import gc
import json
import resource
import tempfile
import threading
import tracemalloc
import weakref
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
from structlog.typing import EventDict

from service.intake.web.routes import MAX_SUBJECT_BODY
from service.kit.concurrency.limiter import Limiter
from service.kit.errors import FieldError, Invalid, Malformed
from service.kit.http.large_bodies import MAX_IN_MEMORY, MAX_JSON_VALUES, LargeBodyReader
from tests.support.api import Api
from tests.support.large_bodies import (
    HEADERS,
    LIMIT,
    body_server,
    in_chunks,
    json_text,
    open_temporary_files,
    refusal_of,
    request_head,
    start_request,
)
from tests.support.request_bodies import image_list, image_url_body, picture
from tests.support.waiting import wait_until


async def test_a_small_body_stays_in_memory_and_a_larger_one_is_read_from_disk() -> None:
    reader = LargeBodyReader()
    async with body_server(reader) as http:
        for size, large in (
            (2, False),
            (MAX_IN_MEMORY, False),
            (MAX_IN_MEMORY + 1, True),
            (LIMIT, True),
        ):
            answer = await http.post("/", content=json_text(size))
            assert answer.json() == {"large": large, "made": size - 2}
    assert (reader.spool_slots.in_use, open_temporary_files()) == (0, 0)


async def test_a_byte_beyond_the_limit_is_refused_whether_or_not_it_was_announced() -> None:
    reader = LargeBodyReader()
    async with body_server(reader) as http:
        announced = await http.post("/", content=json_text(LIMIT + 1))
        counted = await http.post("/", content=in_chunks(json_text(LIMIT + 1)))
        assert announced.status_code == counted.status_code == 413
        assert (await http.post("/", content=json_text(LIMIT))).status_code == 200
    assert (reader.spool_slots.in_use, open_temporary_files()) == (0, 0)


async def test_a_body_announced_too_large_is_refused_before_any_of_it_comes() -> None:
    async with body_server(LargeBodyReader()) as http:
        host, port = http.base_url.host, http.base_url.port
        incoming, writer = await asyncio.open_connection(host, port)
        writer.write(request_head(LIMIT + 1))
        assert b" 413 " in await incoming.readline()
        writer.close()


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-type": ""}, {"content-encoding": "gzip"}],
)
async def test_only_json_as_it_is_is_read(headers: dict[str, str]) -> None:
    async with body_server(LargeBodyReader()) as http:
        assert (await http.post("/", content=json_text(9), headers=headers)).status_code == 415


@pytest.mark.parametrize("size", [9, MAX_IN_MEMORY + 1])
async def test_what_is_not_json_is_malformed(size: int) -> None:
    async with body_server(LargeBodyReader()) as http:
        answer = await http.post("/", content=b"?" * size)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_a_large_body_of_countless_values_is_refused_before_it_is_parsed() -> None:
    async with body_server(LargeBodyReader()) as http:
        for count, status in ((MAX_JSON_VALUES, 200), (MAX_JSON_VALUES + 1, 413)):
            lists = b"[" + b"0,   " * (count - 1) + b"0]"
            assert (await http.post("/", content=lists)).status_code == status


async def test_four_whole_images_in_base64_fit_and_a_fifth_does_not(api: Api) -> None:
    whole = [picture().ljust(10_000_000, b"%d" % n) for n in range(5)]
    most = image_url_body(
        element_name="\U0001f3ad" * 20,
        element_description="\U0001f3ad" * 100,
        tag_list=[{"tag_id": "o_101"}] * 100,
        callback_url="http://127.0.0.1/" + "x" * 8000,
        external_task_id="\U0001f3ad" * 256,
        element_image_list=image_list(*(b64encode(image).decode() for image in whole[:4])),
    )
    body = json.dumps(most).encode()
    padded = body.ljust(MAX_SUBJECT_BODY)
    answer = await api.http.post("/v1/subjects", content=padded, headers=HEADERS)
    assert answer.status_code == 202, answer.text
    assert len(body) + 4 * len(whole[4]) // 3 > MAX_SUBJECT_BODY
    answer = await api.http.post("/v1/subjects", content=padded + b" ", headers=HEADERS)
    assert answer.status_code == 413


async def test_what_one_more_sender_costs_is_a_few_pieces_and_no_body() -> None:
    async with body_server(LargeBodyReader()) as http:
        alone, together = [await peak(http, senders) for senders in (1, 17)]
    assert (together - alone) / 16 < 2_000_000 < LIMIT / 4


async def peak(http: httpx.AsyncClient, senders: int) -> int:
    """Bytes of memory at most, of both sides, while so many send a large body."""
    content = json_text(LIMIT)
    tracemalloc.start()
    try:
        answers = await asyncio.gather(
            *(http.post("/", content=in_chunks(content)) for _ in range(senders))
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert {answer.status_code for answer in answers} == {200}


async def test_a_connection_cut_while_it_sends_leaves_nothing_behind() -> None:
    reader = LargeBodyReader()
    async with body_server(reader) as http:
        writers = [await start_request(http, LIMIT, b" " * 1_000_000) for _ in range(5)]
        await wait_until(lambda: reader.spool_slots.in_use == open_temporary_files() == 5)
        for writer in writers:
            writer.close()
        await wait_until(lambda: reader.spool_slots.in_use == open_temporary_files() == 0)


async def test_a_client_that_leaves_while_it_waits_gives_up_its_turn_and_its_file() -> None:
    reader, hold, has_place = LargeBodyReader(), asyncio.Event(), threading.Event()
    async with body_server(reader, lambda _value: has_place.set(), hold) as http:
        first = asyncio.create_task(http.post("/", content=json_text(LIMIT)))
        await wait_until(has_place.is_set)
        waiting = await start_request(http, LIMIT, json_text(LIMIT))
        await wait_until(lambda: reader.spool_slots.in_use == 2)
        last = asyncio.create_task(http.post("/", content=json_text(LIMIT)))
        await wait_until(lambda: reader.spool_slots.in_use == open_temporary_files() == 3)
        waiting.close()
        await wait_until(lambda: reader.spool_slots.in_use == open_temporary_files() == 2)
        hold.set()
        assert (await first).status_code == (await last).status_code == 200
    assert (reader.spool_slots.in_use, open_temporary_files()) == (0, 0)


async def test_small_ones_are_answered_while_large_ones_wait_for_a_place() -> None:
    reader, checked = LargeBodyReader(), threading.Event()

    def make(value: str) -> int:
        return len(value) if len(value) < MAX_IN_MEMORY else checked.wait() and 0

    async with body_server(reader, make) as http:
        large = [asyncio.create_task(http.post("/", content=json_text(LIMIT))) for _ in range(3)]
        await wait_until(lambda: reader.spool_slots.in_use == 3)
        assert (await http.post("/", content=json_text(5))).json()["made"] == 3
        assert not any(request.done() for request in large)
        checked.set()
        assert {(await request).status_code for request in large} == {200}


async def test_one_more_than_may_be_on_disk_is_told_to_come_again() -> None:
    reader = LargeBodyReader(spool_slots=Limiter(1, 1))
    async with body_server(reader) as http:
        slow = await start_request(http, LIMIT, b" " * 1_000_000)
        await wait_until(lambda: reader.spool_slots.in_use == 1)
        answer = await http.post("/", content=json_text(LIMIT))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await http.post("/", content=json_text(MAX_IN_MEMORY))).status_code == 200
        slow.close()
        await wait_until(lambda: reader.spool_slots.in_use == 0)
        assert (await http.post("/", content=json_text(LIMIT))).status_code == 200


async def test_an_account_that_sends_slowly_leaves_places_to_the_others() -> None:
    reader = LargeBodyReader(spool_slots=Limiter(3, 2))
    async with body_server(reader) as http:
        slow = [await start_request(http, LIMIT, b" " * 1_000_000) for _ in range(2)]
        await wait_until(lambda: reader.spool_slots.in_use == 2)
        assert (await http.post("/", content=json_text(LIMIT))).status_code == 503
        other = await http.post("/", content=json_text(LIMIT), headers={"account": "other"})
        assert other.status_code == 200
        for writer in slow:
            writer.close()
        await wait_until(lambda: reader.spool_slots.in_use == 0)


async def test_a_disk_that_takes_nothing_is_said_to_be_for_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logged: list[EventDict]
) -> None:
    reader = LargeBodyReader()
    async with body_server(reader) as http:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        assert (await http.post("/", content=json_text(LIMIT))).status_code == 503
        monkeypatch.undo()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_IN_MEMORY * 3, hard))
        try:
            assert (await http.post("/", content=json_text(LIMIT))).status_code == 503
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [line["action"] for line in logged] == ["body_not_spooled"] * 2
        assert (await http.post("/", content=json_text(LIMIT))).status_code == 200
    assert (reader.spool_slots.in_use, open_temporary_files()) == (0, 0)


class Precious:
    """Something large that a frame holds."""


async def test_an_error_holds_nothing_of_the_body_it_is_about() -> None:
    references: list[weakref.ref[Precious]] = []

    def check(_value: object) -> None:
        precious = Precious()
        references.append(weakref.ref(precious))
        raise Invalid([FieldError("", "wrong", str(id(precious)))])

    def make(value: object) -> None:
        try:
            check(value)
        except Invalid as error:
            raise Invalid(error.errors) from None

    gc.disable()  # nothing may be left to it
    try:
        errors = [await refusal_of(LargeBodyReader(), make, json_text(LIMIT))]
        broken = await refusal_of(LargeBodyReader(), make, json_text(LIMIT)[:-1])
    finally:
        gc.enable()
    assert isinstance(errors[0], Invalid)
    assert [reference() for reference in references] == [None]
    assert isinstance(broken, Malformed)
    assert broken.__context__ is None


async def test_cancelled_it_keeps_its_place_until_its_thread_is_done() -> None:
    reader, checked = LargeBodyReader(), threading.Event()
    started = threading.Event()

    def make(_value: object) -> None:
        started.set()
        checked.wait()

    task = asyncio.create_task(refusal_of(reader, make, json_text(LIMIT)))
    await wait_until(started.is_set)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (task.done(), reader.spool_slots.in_use, open_temporary_files()) == (False, 1, 1)
    checked.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (reader.spool_slots.in_use, open_temporary_files()) == (0, 0)
