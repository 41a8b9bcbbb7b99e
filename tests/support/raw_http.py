"""HTTP requests as bytes on a socket: client libraries correct what they send."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

Lines = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)


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
