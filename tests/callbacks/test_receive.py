"""The answers to POST /callbacks: 200 once it is durable, else 400, 401, 413 or 503."""

import asyncio
import gc
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
import pytest
from structlog.typing import EventDict

from service.app import build
from service.callbacks.domain.callback import RawCallback
from service.callbacks.domain.verification import TIMESTAMP_TOLERANCE
from service.callbacks.web.receive import MAX_BODY
from service.kit.crypto.key_formats import format_whsec
from service.kit.database.database import Database
from service.local.ports import free_port
from tests.support.api import Api
from tests.support.callbacks import current_callback, legacy_callback, signed_headers, url_token
from tests.support.database import fetch
from tests.support.http_server import http_server

OTHER_SECRET = format_whsec(b"another key than the provider's")
MALFORMED = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"succeed"',
    b"{}",
    b"\xff\xfe",
    b'{"task_id": "1"}',
    b'{"task_status": "succeed"}',
    b'{"task_id": "1", "task_status": 3}',
    b'{"task_id": null, "task_status": "succeed"}',
    b'{"task_id": "1", "id": "1", "task_status": "succeed", "status": "succeeded"}',
    b'{"task_id": "1", "task_id": "2", "task_status": "succeed"}',
    b'{"task_id": "1", "task_status": NaN}',
    b"[" * 100_000,
    BOM_UTF8,
    BOM_UTF8 * 2 + b'{"task_id": "1", "task_status": "succeed"}',
)


async def post(
    api: Api, path: str, body: bytes, headers: dict[str, str] | None = None
) -> httpx.Response:
    given = signed_headers(body, api.resources.clock()) if headers is None else headers
    return await api.http.post(path, content=body, headers=given)


async def count_accepted(api: Api) -> int:
    """The number of stored callbacks that were not rejected."""
    return len(await fetch(api.resources, "SELECT id FROM callbacks WHERE verdict <> 'rejected'"))


async def address(api: Api) -> tuple[str, bytes]:
    """The callback address of a new subject, and a body that reports its success."""
    subject_id = (await api.create())["id"]
    return f"/callbacks/{url_token(api.resources, subject_id)}", legacy_callback(subject_id)


async def test_a_forged_address_is_refused(api: Api) -> None:
    path, body = await address(api)
    other = (await api.create())["id"]
    _, _, mac = path.rpartition(".")
    for forged in (
        f"/callbacks/{other}.{mac}",
        path[:-1],
        f"{path}x",
        "/callbacks/x",
    ):
        assert (await post(api, forged, body)).status_code == 401, forged
    assert await count_accepted(api) == 0


async def test_a_signature_that_is_missing_wrong_or_old_is_refused(api: Api) -> None:
    path, body = await address(api)
    now = api.resources.clock()
    good = signed_headers(body, now)
    stale = now - timedelta(seconds=TIMESTAMP_TOLERANCE + 2)
    cases = [{name: good[name] for name in good if name != missing} for missing in good]
    cases += [
        signed_headers(body, now, secret=OTHER_SECRET),
        signed_headers(body + b" ", now),
        signed_headers(body, stale),
    ]
    cases += [good | {"webhook-signature": text} for text in ("v1", "v1,", "v2,AAAA", "v1,ä=")]
    cases += [good | {"webhook-timestamp": text} for text in ("1.5", "-1", "1e9", "")]
    for headers in cases:
        raw = {name: value.encode() for name, value in headers.items()}
        answer = await api.http.post(path, content=body, headers=raw)  # type: ignore[arg-type]
        assert answer.status_code == 401, headers
        assert answer.json()["code"] == "signature"
    assert await count_accepted(api) == 0


async def test_a_body_that_is_no_task_record_is_malformed(api: Api) -> None:
    path, _ = await address(api)
    for body in MALFORMED:
        answer = await post(api, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), body[:50]
    assert await count_accepted(api) == 0


async def test_a_body_beyond_the_bound_is_too_large_announced_or_not(api: Api) -> None:
    path, body = await address(api)
    fits = body + b" " * (MAX_BODY - len(body))

    async def unannounced() -> AsyncIterator[bytes]:
        yield fits
        yield b" "

    assert (await post(api, path, fits + b" ")).status_code == 413
    answer = await api.http.post(
        path, content=unannounced(), headers=signed_headers(fits, api.resources.clock())
    )
    assert answer.status_code == 413
    assert await count_accepted(api) == 0
    assert (await post(api, path, fits)).status_code == 200


async def test_an_encoded_body_is_malformed(api: Api) -> None:
    path, body = await address(api)
    headers = signed_headers(body, api.resources.clock()) | {"content-encoding": "gzip"}
    assert (await post(api, path, body, headers)).status_code == 400


async def test_a_body_that_breaks_off_is_not_stored(api: Api) -> None:
    path, body = await address(api)
    host, _, port = str(api.http.base_url).removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [
        f"{name}: {value}" for name, value in signed_headers(body, api.resources.clock()).items()
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body[:20])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await api.http.get("/healthz")).status_code == 200
    assert await count_accepted(api) == 0


async def test_what_is_answered_200_is_in_the_table_bytes_and_all(api: Api) -> None:
    path, body = await address(api)
    bodies = [body, b" " + body, current_callback(None, "submitted", task="7", outputs=[])]
    headers = {"content-type": "application/json; charset=utf-8", "user-agent": "ü" * 600}
    for number, body in enumerate(bodies):
        raw = signed_headers(body, api.resources.clock(), f"msg_{number}") | headers
        latin = {name: value.encode("latin-1") for name, value in raw.items()}
        answer = await api.http.post("/callbacks", content=body, headers=latin)  # type: ignore[arg-type]
        assert answer.status_code == 200
    rows = await fetch(api.resources, "SELECT * FROM callbacks ORDER BY dedup_key")
    assert [row["body"] for row in rows] == bodies
    for number, row in enumerate(rows):
        assert row["dedup_key"] == f"msg_{number}"
        assert '"webhook-id": "msg_' in row["headers"]
        assert "webhook-signature" not in row["headers"]
    assert path.startswith("/callbacks/sub_")


async def test_one_slash_behind_an_address_makes_no_other_of_it(api: Api) -> None:
    path, body = await address(api)
    answers = [await post(api, f"{path}{slash}", body) for slash in ("/", "", "//")]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    (row,) = await fetch(api.resources, "SELECT verdict, times_received FROM callbacks")
    assert row == {"verdict": "applied", "times_received": 2}
    assert (await post(api, "/callbacks/", current_callback(None, task="8"))).json() == {
        "verdict": "unknown"
    }


async def test_a_byte_order_mark_is_passed_over_and_signed_with_the_rest(api: Api) -> None:
    path, body = await address(api)
    marked = BOM_UTF8 + body
    unmarked = signed_headers(body, api.resources.clock())
    assert (await post(api, path, marked, unmarked)).status_code == 401
    answer = await post(api, path, marked)
    assert (answer.status_code, answer.json()) == (200, {"verdict": "applied"})
    (row,) = await fetch(api.resources, "SELECT body FROM callbacks WHERE verdict = 'applied'")
    assert row["body"] == marked


async def test_callbacks_of_many_subjects_at_once_are_all_answered_and_all_stored(api: Api) -> None:
    """Two writers, batches that share subjects and messages, in every order."""
    subjects = [(await api.create())["id"] for _ in range(4)]
    named = [
        (
            f"/callbacks/{url_token(api.resources, subject_id)}",
            legacy_callback(subject_id, word, task=subject_id[4:]),
            f"{subject_id}{word}",
        )
        for subject_id in subjects
        for word in ("submitted", "processing", "succeed")
    ]
    nobodys = [
        ("/callbacks", current_callback(None, "submitted", task=f"{n}1"), f"console_{n}")
        for n in range(8)
    ]
    messages = [*named, *nobodys] * 6
    messages[::2] = reversed(messages[::2])

    async def post_message(path: str, body: bytes, message_id: str) -> int:
        headers = signed_headers(body, api.resources.clock(), message_id)
        return (await post(api, path, body, headers)).status_code

    assert Counter(await asyncio.gather(*(post_message(*message) for message in messages))) == {
        200: len(messages)
    }
    rows = await fetch(api.resources, "SELECT dedup_key, times_received FROM callbacks")
    assert {row["dedup_key"]: row["times_received"] for row in rows} == {
        message_id: 6 for _, _, message_id in [*named, *nobodys]
    }
    assert {(await api.read(subject_id))["state"] for subject_id in subjects} == {"succeeded"}
    assert await api.violations() == []


@asynccontextmanager
async def without_postgres(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application while Postgres is away."""
    nowhere = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    app = build(replace(api.resources, database=nowhere))
    async with (
        http_server(app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        yield http
    await nowhere.close()


async def test_what_could_not_be_stored_is_asked_for_again(api: Api) -> None:
    path, body = await address(api)
    headers = signed_headers(body, api.resources.clock())
    async with without_postgres(api) as http:
        answer = await http.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await post(api, path, body)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_posts_are_callbacks(api: Api, method: str) -> None:
    path, _ = await address(api)
    assert (await api.http.request(method, path)).status_code == 405


async def test_a_refusal_holds_no_body_once_it_is_answered(api: Api) -> None:
    """Nor does it wait for the collector, which comes seldom."""
    path, body = await address(api)
    gc.collect()
    gc.disable()
    try:
        for number in range(3):
            forged = signed_headers(
                body, api.resources.clock(), f"msg_{number}", secret=OTHER_SECRET
            )
            assert (await post(api, path, body, forged)).status_code == 401
        for malformed in (b"{}", b"{", b"\xff", b"[" * 1000):
            assert (await post(api, path, malformed)).status_code == 400
        assert [found for found in gc.get_objects() if isinstance(found, RawCallback)] == []
    finally:
        gc.enable()


async def test_a_fault_of_ours_is_logged_and_answered_as_a_problem(
    api: Api, logged: list[EventDict]
) -> None:
    """As one of any other path is."""

    moments = [api.resources.clock()]

    def stopped() -> datetime:
        return moments.pop()

    transport = httpx.ASGITransport(build(replace(api.resources, clock=stopped)))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/callbacks", content=legacy_callback(None))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    fault, failed = logged
    assert (fault["action"], fault["route"]) == ("fault", "/callbacks")
    assert (failed["action"], failed["status"]) == ("request_failed", 500)
    logged.clear()
