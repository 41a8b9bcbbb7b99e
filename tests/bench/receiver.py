"""Webhook receivers that only answer 200: `python -m tests.bench.receiver PORTS HANGING`.

Listens on so many ports, and on so many more where it never answers; prints them, and then for each
line that it is sent how many deliveries have come since the last line, and when the last one came.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LENGTH = b"content-length:"
PATIENCE = 120.0  # seconds until everything expected must be there


class Received:
    """How many, and when the first and the last of them came; in seconds of no particular clock."""

    def __init__(self) -> None:
        self.count, self.first, self.last = 0, 0.0, 0.0

    def add(self) -> None:
        self.last = perf_counter()
        self.first = self.first or self.last
        self.count += 1


class ReceiverProtocol(asyncio.Protocol):
    """Answers each whole request, unless it hangs."""

    def __init__(self, received: Received, *, hangs: bool) -> None:
        self._received = received
        self._hangs = hangs
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._begun += data
        while (end := self._begun.find(b"\r\n\r\n")) >= 0:
            at = self._begun.lower().find(LENGTH, 0, end)
            length = int(self._begun[at + len(LENGTH) : self._begun.find(b"\r", at)])
            if len(self._begun) < end + 4 + length:
                return
            self._begun = self._begun[end + 4 + length :]
            if not self._hangs:
                self._received.add()
                self._transport.write(ANSWER)  # type: ignore[attr-defined]


async def main(ports: int, hanging: int) -> None:
    received = Received()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_server(lambda: ReceiverProtocol(received, hangs=False), "127.0.0.1")
        for _ in range(ports)
    ]
    made += [
        await loop.create_server(lambda: ReceiverProtocol(received, hangs=True), "127.0.0.1")
        for _ in range(hanging)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in made]), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps([received.count, received.first, received.last]), flush=True)
        if line.strip() == b"forget":
            received.__init__()  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Receivers:
    """A process that answers deliveries at `urls`, and never answers those at `hanging`."""

    process: "subprocess.Popen[str]"
    urls: tuple[str, ...]
    hanging: tuple[str, ...]

    def ask(self, command: str = "count") -> tuple[int, float, float]:
        """How many came, and when the first and the last did; "forget" begins anew."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        count, first, last = json.loads(self.process.stdout.readline())
        return count, first, last


@contextmanager
def receivers(ports: int, hanging: int = 0) -> Iterator[Receivers]:
    """The process of this module, as long as the block lasts."""
    command = [sys.executable, "-P", "-m", "tests.bench.receiver", str(ports), str(hanging)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        urls = [f"http://127.0.0.1:{port}/" for port in json.loads(process.stdout.readline())]
        try:
            yield Receivers(process, tuple(urls[:ports]), tuple(urls[ports:]))
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
