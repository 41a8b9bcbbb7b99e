"""Taking requests in and reading them, as rows: against a bare handler that reads the same body."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import cycle, islice
from secrets import token_bytes, token_hex
from time import perf_counter

import httpx
from PIL import Image

from tests.bench import aims, cpu
from tests.bench.database import execute
from tests.bench.load import Faulty
from tests.bench.measure import Target, send
from tests.bench.rounds import CPU_HEAD, ROUNDS, Measured, Rounds, cpu_column, in_turn, rate, ratio
from tests.bench.servers import baseline, serving, target

ACCOUNT = "intake"
CONNECTIONS = 64
SUBJECTS = 2_000  # that are read; they have ended, as one that is queued is told its place too
ENDED = "UPDATE subjects SET state = 'canceled', finished_at = now()"
SECONDS = 3.0  # about as long as each measurement takes
WARM_UP = 500
MOST = 40_000  # requests of one measurement
HEAVY = 24  # requests with four images, of one measurement
HEAVY_AT_ONCE = 4
IMAGE_BYTES = 2_000_000
SEGMENT = 60_000  # bytes of one of a JPEG's comments


def intake() -> None:
    """`read a subject`, `accept an image subject by URL`, `accept one with four 2 MB images`."""
    with serving() as running, baseline(running, "bare") as bare:
        web, key = target(running, "web"), running.make_key(ACCOUNT)
        paths = _made(running.base_url, key)
        execute(running.env["CALLSHEET_DATABASE_URL"], ENDED)
        print(
            f"\nintake and reading; {CONNECTIONS} connections; medians of {ROUNDS} rounds in turn"
        )
        print(f"{'':36}{'per s':>9}{'bare':>9}{'x bare':>8}{CPU_HEAD}")
        _row("read a subject", web, bare, [_get(path, key) for path in paths], aims.READ)
        _row("accept an image subject by URL", web, bare, [_post(BY_URL, key)], aims.ACCEPT_BY_URL)
        _heavy_row(web, bare, key)


BY_URL = {
    "element_name": "A red ball",
    "element_description": "A ball, seen from the front and from above",
    "reference_type": "image_refer",
    "element_image_list": {
        "frontal_image": "https://media.example/front.png",
        "refer_images": [{"image_url": "https://media.example/side.png"}],
    },
    "tag_list": [{"tag_id": "o_104"}],
}


def _made(url: str, key: str) -> list[str]:
    """The paths of subjects to be read."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as http:
        answers = [
            http.post("/v1/subjects/batch", json={"subjects": [BY_URL] * 100})
            for _ in range(SUBJECTS // 100)
        ]
    made = [
        result["subject"]["id"]
        for answer in answers
        for result in answer.raise_for_status().json()["data"]
    ]
    return [f"/v1/subjects/{subject_id}" for subject_id in made]


def _head(method: str, path: str, key: str, length: int | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {key}"]
    if length is not None:
        lines += ["content-type: application/json", f"content-length: {length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _get(path: str, key: str) -> bytes:
    return _head("GET", path, key)


def _post(body: object, key: str) -> bytes:
    text = json.dumps(body).encode()
    return _head("POST", "/v1/subjects", key, len(text)) + text


def _row(title: str, web: Target, bare: Target, requests: Sequence[bytes], aim: aims.Aim) -> None:
    _show(title, in_turn({"web": _way(web, requests), "bare": _way(bare, requests)}), aim)


def _way(server: Target, requests: Sequence[bytes]) -> Callable[[], Measured]:
    """Sends them again and again, for about SECONDS by what was measured first."""
    warm = send(server, _many(requests, WARM_UP), CONNECTIONS)
    some = _many(requests, min(MOST, max(WARM_UP, int(warm.rate * SECONDS))))
    return lambda: send(server, some, CONNECTIONS)


def _many(requests: Sequence[bytes], count: int) -> list[bytes]:
    return list(islice(cycle(requests), count))


def _show(title: str, rounds: Mapping[str, Rounds], aim: aims.Aim | None = None) -> None:
    own, bare = rounds["web"], rounds["bare"]
    print(
        f"{title:36}{rate(own):9,.0f}{rate(bare):9,.0f}{ratio(own, bare):8.2f}"
        f"   {cpu_column(own)}; bare: {cpu_column(bare)}",
        flush=True,
    )
    if aim is not None:
        print(f"  x bare: {aims.judged(ratio(own, bare), aim)}")


def _heavy_row(web: Target, bare: Target, key: str) -> None:
    """Four images of 2 MB each in Base64, no two of all alike."""
    ways = {"web": lambda: _heavy(web, key), "bare": lambda: _heavy(bare, key)}
    _show("accept one with four 2 MB images", in_turn(ways))


def _heavy(server: Target, key: str) -> Measured:
    name, tail = token_hex(4), base64.b64encode(_picture())
    before, start = cpu.usage(server.processes), perf_counter()

    def post(turn: int) -> None:
        pieces = list(_pieces(f"{name}-{turn}", tail))
        length = sum(map(len, pieces))
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        with closing(connection):
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            headers["content-length"] = str(length)
            connection.request("POST", "/v1/subjects", iter(pieces), headers)
            answer = connection.getresponse()
            if answer.status not in {200, 202}:
                raise Faulty(answer.read(300).decode("latin-1"))
            answer.read()

    with ThreadPoolExecutor(HEAVY_AT_ONCE) as threads:
        list(threads.map(post, range(HEAVY)))
    elapsed = perf_counter() - start
    return Measured(HEAVY / elapsed, cpu.each(before, cpu.usage(server.processes), HEAVY))


def _picture() -> bytes:
    """A JPEG of so many bytes, without its first two: a small one behind long comments, which
    shrink as little as pixels would."""
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400), "red").save(buffer, "JPEG")
    comment = b"\xff\xfe" + SEGMENT.to_bytes(2, "big") + token_bytes(SEGMENT - 2)
    return comment * (IMAGE_BYTES // len(comment)) + buffer.getvalue()[2:]


def _pieces(name: str, tail: bytes) -> Iterator[bytes]:
    """A request's body; its four images begin with a comment of their own."""
    given = {"frontal_image": "?", "refer_images": [{"image_url": "?"}] * 3}
    text = json.dumps(BY_URL | {"element_image_list": given})
    for at, part in enumerate(text.split("?")):
        if at:
            yield from _image(name, at, tail)
        yield part.encode()


def _image(name: str, at: int, tail: bytes) -> Iterator[bytes]:
    """In Base64: what differs is a multiple of three bytes, so the rest can stand behind it."""
    comment = f"{name}-{at}".encode().ljust(30, b"-")
    yield base64.b64encode(b"\xff\xd8\xff\xfe\x00\x20" + comment)
    yield tail
