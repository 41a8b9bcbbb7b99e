"""The provider's answers are read liberally; what cannot be read is shown, bounded and bare."""

import gzip
import json
import zlib

import pytest

from service.provider.remote.client import MAX_RESPONSE_BYTES
from service.provider.remote.credentials import ProviderApiKey, ProviderKeyPair
from service.provider.remote.lenient_parsing import MAX_EXCERPT
from service.provider.remote.outcomes import (
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskAccepted,
    TaskFound,
    TaskNotFound,
    UnreadableResponse,
)
from tests.support.provider_client import (
    CREATE_BODY,
    CREATED,
    KEY_PAIR,
    TASK_RECORD,
    create_answer,
    look_up_answer,
    provider_client,
)
from tests.support.raw_servers import Script, envelope_response, http_response

RAW = CREATED.partition(b"\r\n\r\n")[2]
BOM = b"\xef\xbb\xbf"


def deflated(content: bytes, bits: int) -> bytes:
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(content) + packer.flush()


READABLE = {
    "gzip": http_response(gzip.compress(RAW), headers="content-encoding: gzip\r\n"),
    "x-gzip": http_response(gzip.compress(RAW), headers="content-encoding: X-GZIP\r\n"),
    "undeclared gzip": http_response(gzip.compress(RAW)),
    "declared gzip that is none": http_response(RAW, headers="content-encoding: gzip\r\n"),
    "gzip and a mark": http_response(
        gzip.compress(BOM + RAW), headers="content-encoding: gzip\r\n"
    ),
    "something behind gzip": http_response(gzip.compress(RAW) + b"\0\0"),
    "deflate": http_response(deflated(RAW, 15), headers="content-encoding: deflate\r\n"),
    "deflate without zlib's": http_response(
        deflated(RAW, -15), headers="content-encoding: Deflate\r\n"
    ),
    "declared deflate that is none": http_response(RAW, headers="content-encoding: deflate\r\n"),
    "a mark": http_response(BOM + RAW),
    "a character set": http_response(RAW, headers="content-encoding: utf-8\r\n"),
    "blanks around": http_response(b"\r\n " + RAW + b"\n"),
    "a header of 9000 bytes": http_response(RAW, headers=f"x: {'y' * 9000}\r\n"),
    "code as text": http_response(json.dumps({"code": " 0 ", "data": TASK_RECORD}).encode()),
}


@pytest.mark.parametrize("kind", READABLE)
async def test_an_answer_is_read_however_it_is_encoded(kind: str) -> None:
    assert isinstance(await create_answer(READABLE[kind]), TaskAccepted)
    assert isinstance(await look_up_answer(READABLE[kind]), TaskFound)


async def test_a_code_in_text_means_what_it_means_as_a_number() -> None:
    def says(code: str, words: str = "words") -> bytes:
        return http_response(json.dumps({"code": code, "message": words}).encode())

    assert await create_answer(says("1303")) == RetryLater(
        1303, "words", 1.0, at_parallel_limit=True
    )
    assert await create_answer(says("1102")) == ProviderStopped(1102, "words")
    assert await create_answer(says("1301")) == Refused(1301, "words")
    assert await look_up_answer(says("1201", "Task not found")) == TaskNotFound("Task not found")


@pytest.mark.parametrize("pack", [gzip.compress, lambda raw: deflated(raw, 15)])
async def test_what_is_large_once_unpacked_is_not_unpacked_to_its_end(pack: object) -> None:
    assert callable(pack)
    headers = "content-encoding: deflate\r\n"
    whole = await create_answer(http_response(pack(RAW.ljust(MAX_RESPONSE_BYTES)), headers=headers))
    assert isinstance(whole, TaskAccepted)
    for size in (MAX_RESPONSE_BYTES + 1, 50_000_000):
        answer = await create_answer(http_response(pack(RAW.ljust(size)), headers=headers))
        assert isinstance(answer, UnreadableResponse)
        assert f"more than {MAX_RESPONSE_BYTES} bytes" in answer.reason


PAGE = b"<!DOCTYPE html>\n<title>502 Bad Gateway</title>\x1b[2J"
SHOWN = r"<!DOCTYPE html>\n<title>502 Bad Gateway</title>\x1b[2J"
UNREADABLE = {
    "a page": (http_response(PAGE, 502), SHOWN),
    "a packed page": (http_response(gzip.compress(PAGE), 502), SHOWN),
    "nothing": (http_response(b""), ""),
    "a number": (http_response(b"12"), "12"),
    "no code": (http_response(b'{"errcode": 40001}'), '{"errcode": 40001}'),
    "a code in words": (http_response(b'{"code": "ok"}'), '{"code": "ok"}'),
    "a fraction": (http_response(b'{"code": "0.0"}'), '{"code": "0.0"}'),
    "no record": (http_response(b'{"code": 0}'), '{"code": 0}'),
    "another protocol": (b"220 mail.example.com ESMTP\r\n", ""),
    "a coding nobody asked for": (
        http_response(b"\x0b\2", headers="content-encoding: br\r\n"),
        r"\x0b\x02",
    ),
    "half of what was packed": (http_response(gzip.compress(PAGE)[:10]), "\\x1f\ufffd\\x08\\x00"),
    "too long": (http_response(b"x, " * MAX_RESPONSE_BYTES), "x, " * 67),
}


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_nobody_can_read_is_shown_by_its_beginning(kind: str) -> None:
    answer, shown = UNREADABLE[kind]
    for outcome in (await create_answer(answer), await look_up_answer(answer)):
        assert isinstance(outcome, UnreadableResponse)
        assert outcome.excerpt.isprintable()
        assert len(outcome.excerpt) <= MAX_EXCERPT
        assert outcome.excerpt[: len(shown)] == shown[:MAX_EXCERPT]
        assert bool(outcome.excerpt) == bool(shown)


async def shown(repeated: str, credentials: ProviderApiKey | ProviderKeyPair) -> str:
    """What is shown of a page that repeats these words."""
    page = http_response(f"<p>{repeated}</p>".encode())
    async with provider_client(page, credentials=credentials) as (provider, _):
        outcome = await provider.create(CREATE_BODY)
    assert isinstance(outcome, UnreadableResponse)
    return outcome.excerpt


async def test_no_secret_is_shown_that_an_answer_repeats() -> None:
    assert await shown("Bearer sk-1!", ProviderApiKey("sk-1")) == "<p>Bearer ***!</p>"
    assert (
        await shown("short and access", ProviderKeyPair("access", "short")) == "<p>*** and ***</p>"
    )
    url = "https://us.example/callbacks/abcdef?sig=a%2Fb"
    assert await shown(f'"{url}", {url}', ProviderApiKey("k")) == '<p>"…", …</p>'


async def test_the_token_in_use_is_not_shown() -> None:
    async with provider_client(CREATED, http_response(b"x"), credentials=KEY_PAIR) as (
        provider,
        server,
    ):
        await provider.create(CREATE_BODY)
        token = server.requests[0].headers["authorization"].removeprefix("Bearer ")
        server.answers[0] = http_response(f"it was {token}.".encode())
        outcome = await provider.create(CREATE_BODY)
    assert isinstance(outcome, UnreadableResponse)
    assert outcome.excerpt == "it was ***."


async def test_an_outcome_that_is_lost_or_unknown_was_not_unreadable() -> None:
    async def close(*_: object) -> None:
        """Hang up without a word."""

    lost: list[bytes | Script] = [close, envelope_response(5000, "x")]
    for answer in lost:
        assert type(await look_up_answer(answer)) is OutcomeUnknown
