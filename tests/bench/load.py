"""A load of prepared requests over kept-alive connections: as little work per request as can be.

It shares the machine with what it measures. Two thirds of its cost are the kernel's, for sending
and receiving; the rest is this loop over bare sockets.
"""

import gc
import socket
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter, process_time

OK = b"HTTP/1.1 200 ", b"HTTP/1.1 202 "
PATIENCE = 120.0  # seconds until the load must be through
MOST = 65_536  # bytes of an answer read at once


class Faulty(Exception):
    """The server did not answer each request with a whole 200 or 202."""


@dataclass(frozen=True, slots=True)
class Driven:
    """Requests per second, the milliseconds from each request to its whole answer, and the seconds
    of CPU that the sending took."""

    rate: float
    latencies: Sequence[float]
    cpu: float


class _Answers:
    """Tells whether an answer is whole and a good one. One that is byte for byte like the last good
    one is: `last` spares the reading of the rest."""

    def __init__(self) -> None:
        self.last = b""
        self.begun: dict[socket.socket, bytes] = {}

    def whole(self, wire: socket.socket, data: bytes) -> bool:
        """False while more must come; Faulty if it is no good one, or not as long as it says."""
        answer = self.begun.pop(wire, b"") + data
        head, end, body = answer.partition(b"\r\n\r\n")
        if data and (not end or len(body) < _length(head)):
            self.begun[wire] = answer
            return False
        if not head.startswith(OK) or len(body) != _length(head):
            raise Faulty(answer[:300].decode("latin-1") or "closed by the server")
        self.last = answer
        return True


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise Faulty("an answer without a length")


def drive(host: str, port: int, requests: Sequence[bytes], connections: int) -> Driven:
    """Send all, at any time one on each connection; Faulty as soon as one is not answered well."""
    with ExitStack() as stack, _no_collection():
        wires = [
            stack.enter_context(closing(socket.create_connection((host, port))))
            for _ in range(min(connections, len(requests)))
        ]
        began, cpu = perf_counter(), process_time()
        latencies = _drive(wires, iter(requests), began + PATIENCE)
        elapsed, cpu = perf_counter() - began, process_time() - cpu
    if len(latencies) != len(requests):
        raise Faulty(f"{len(latencies)} answers to {len(requests)} requests")
    return Driven(len(requests) / elapsed, latencies, cpu)


def _drive(wires: list[socket.socket], source: Iterator[bytes], deadline: float) -> Sequence[float]:
    answers, latencies = _Answers(), array("d")
    sent: dict[int, float] = {}
    with DefaultSelector() as waiting:
        for wire in wires:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(0)
            waiting.register(wire, EVENT_READ, wire)
            sent[wire.fileno()] = perf_counter()
            _send(wire, next(source))
        while sent:
            for key, _ in waiting.select(deadline - perf_counter()):
                wire = key.data
                data = wire.recv(MOST)
                now = perf_counter()
                if (data != answers.last or answers.begun) and not answers.whole(wire, data):
                    continue
                latencies.append((now - sent[key.fd]) * 1000)
                request = next(source, None)
                if request is None:
                    waiting.unregister(wire)
                    del sent[key.fd]
                else:
                    sent[key.fd] = now
                    _send(wire, request)
            if perf_counter() > deadline:
                raise Faulty(f"not answered within {PATIENCE:g} s")
    return latencies


def _send(wire: socket.socket, request: bytes) -> None:
    if wire.send(request) != len(request):  # nothing else is under way on it: there is room
        raise Faulty("a request did not fit into the connection")


@contextmanager
def _no_collection() -> Iterator[None]:
    """The collector would walk all that was prepared, in the middle of the measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
