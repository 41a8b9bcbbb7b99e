"""Header lines as clients and proxies write them: blanks behind a value, several lines of one name,
words that say nothing."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers, url_token
from tests.support.database import fetch
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH

JSON = ("content-type", "application/json")
FORGED = "v1," + "A" * 43 + "="


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)


async def post(api: Api, *lines: tuple[str, str], path: str = "/v1/subjects") -> Answer:
    """Always the same request."""
    content = [] if "content-type" in dict(lines) else [JSON]
    return await exchange(api.http, "POST", path, [*content, *lines], json.dumps(BODY).encode())


BODY = request_body()


Lines = Sequence[tuple[str, str]]


async def exchange(
    http: httpx.AsyncClient, method: str, path: str, lines: Lines = (), body: bytes = b""
) -> Answer:
    """Send these header lines as they are to the client's server; the response.

    Host, the client's key, Content-Length and `Connection: close` are added.
    """
    where = urlsplit(str(http.base_url))
    ours = [("host", where.netloc), ("connection", "close")]
    ours += [("content-length", str(len(body)))] if body else []
    if "authorization" in http.headers and "authorization" not in {name for name, _ in lines}:
        ours.append(("authorization", http.headers["authorization"]))
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in (*ours, *lines))]
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
    raw = await reader.read()
    writer.close()
    top, _, rest = raw.partition(b"\r\n\r\n")
    first, *others = top.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in others)
    return Answer(int(first.split()[1]), headers, rest)


@pytest.mark.parametrize("blank", [" ", "\t", " \t "])
async def test_a_key_with_a_blank_behind_it_is_the_same_key(api: Api, blank: str) -> None:
    answers = [await post(api, ("Idempotency-Key", text)) for text in ("key-1", f"key-1{blank}")]
    assert [answer.status for answer in answers] == [202, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_any_header_may_have_a_blank_behind_its_value(api: Api) -> None:
    lines = (("Cancel-After", "10m "), ("Content-Type", "application/json\t"))
    made = await post(api, *lines)
    assert made.status == 202
    read = f"/v1/subjects/{made.json()['id']}"
    etag = (await api.http.get(read)).headers["etag"]
    assert (await exchange(api.http, "GET", read, [("If-None-Match", f"{etag} ")])).status == 304
    stream = [("Accept", "text/event-stream "), ("Last-Event-ID", "1 ")]
    answer = await exchange(api.http, "HEAD", f"{read}/events", stream)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")


@pytest.mark.parametrize("path", ["/v1/subjects", PATH])
async def test_two_keys_are_refused_and_one_said_twice_is_one(api: Api, path: str) -> None:
    two = await post(api, ("Idempotency-Key", "a"), ("Idempotency-Key", "b"), path=path)
    assert two.status == 400
    assert b"The header idempotency-key was sent twice, with different values." in two.body
    assert await fetch(api.resources, "SELECT id FROM subjects") == []
    same = [("Idempotency-Key", "a"), ("Idempotency-Key", "a ")]
    made = [await post(api, *lines, path=path) for lines in (same, same[:1])]
    assert [answer.status < 300 for answer in made] == [True, True]
    assert len(await fetch(api.resources, "SELECT id FROM subjects")) == 1


@pytest.mark.parametrize(
    ("name", "first", "second", "status"),
    [
        ("authorization", "Bearer a", "Bearer b", 400),
        ("Cancel-After", "10m", "20m", 400),
        ("content-type", "application/json", "text/plain", 415),
    ],
)
async def test_what_is_said_once_is_not_guessed_from_two(
    api: Api, name: str, first: str, second: str, status: int
) -> None:
    for lines in ([(name, first), (name, second)], [(name, second), (name, first)]):
        assert (await post(api, *lines)).status == status


async def test_a_reader_that_resumes_at_two_places_is_refused(api: Api) -> None:
    lines = [("Accept", "text/event-stream"), ("Last-Event-ID", "1-1"), ("Last-Event-ID", "1-2")]
    assert (await exchange(api.http, "HEAD", "/v1/events", lines)).status == 400


ENCODINGS = [
    ([""], 202),
    (["UTF-8"], 202),
    (["identity"], 202),
    (["aws-chunked", "identity"], 202),
    (["GZIP"], 415),
    (["identity, br"], 415),
    (["utf-8", "zstd"], 415),
]


@pytest.mark.parametrize(("words", "status"), ENCODINGS)
async def test_a_body_is_refused_as_encoded_only_where_a_coding_is_named(
    api: Api, words: list[str], status: int
) -> None:
    lines = [("Content-Encoding", word) for word in words]
    assert (await post(api, *lines)).status == status
    called_back = await callback(api, *lines)
    assert called_back.status == {202: 200, 415: 400}[status]


async def callback(api: Api, *lines: tuple[str, str], body: bytes | None = None) -> Answer:
    """Report success at the address of a new subject, signed where the lines do not say how."""
    subject_id = (await api.create())["id"]
    path = f"/callbacks/{url_token(api.resources, subject_id)}"
    body = body or legacy_callback(subject_id)
    good = signed_headers(body, api.resources.clock(), subject_id)
    given: Lines = [(name, text.format(**good)) for name, text in lines]
    rest = [(name, text) for name, text in good.items() if name not in dict(lines)]
    return await exchange(api.http, "POST", path, [*given, *rest], body)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("blank", [" ", "\t"])
async def test_a_callback_is_believed_whatever_blank_is_behind_its_headers(
    api: Api, name: str, blank: str
) -> None:
    assert (await callback(api, (name, f"{{{name}}}{blank}"))).status == 200


SIGNATURE = "{webhook-signature}"


@pytest.mark.parametrize(
    "lines",
    [
        [FORGED, SIGNATURE],
        [SIGNATURE, FORGED],
        [f"{FORGED} {SIGNATURE}", "v1a,AAAA"],
        [f"{FORGED}, {SIGNATURE}"],
        [f"v1a,AAAA,{FORGED},{SIGNATURE}"],
        [SIGNATURE, SIGNATURE],
    ],
)
async def test_signatures_in_several_lines_are_one_list(api: Api, lines: list[str]) -> None:
    given = [("webhook-signature", text) for text in lines]
    assert (await callback(api, *given)).status == 200


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
async def test_a_callback_that_says_two_things_where_one_is_signed_is_not_believed(
    api: Api, name: str
) -> None:
    good = f"{{{name}}}"
    assert (await callback(api, (name, good), (name, good))).status == 200
    for lines in ((good, "1"), ("1", good)):
        assert (await callback(api, *((name, text) for text in lines))).status == 401
