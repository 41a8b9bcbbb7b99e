"""Memory of one web process while 50 callers at once send it four images of 10 MB in Base64."""

import json
import os
import re
import socket
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from service.local.stack import Stack, stack
from tests.bench.load import Faulty
from tests.support.request_bodies import image_list, image_url_body, picture

SENDERS = 50
IMAGE_BYTES = 10_000_000  # rule P16
ACCOUNT = "bodies"
SEGMENT = 65_000  # bytes of one of a JPEG's comments
PATIENCE = 300.0  # seconds until something must have come about
OFTEN = 0.01  # seconds between two GETs of /healthz
RESET_PEAK = "5"  # proc(5), clear_refs


def bodies() -> None:
    """One alone, 50 at once, 50 that stop halfway; each in a process of the same stack."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", keep=False) as running,
    ):
        running.child("worker").stop()
        body = Path(folder) / "body"
        body.write_bytes(_body())
        load = Load(running, running.make_key(ACCOUNT), body, running.child("web").pid)
        print(f"\nbodies of {body.stat().st_size:,} bytes to one web process, by /proc")
        print(f"{'':24}{'MB before':>10}{'peak':>7}{'after':>7}{'s':>7}  /healthz worst; answers")
        load.row("one alone", lambda: load.send(1))
        load.row(f"{SENDERS} at once", lambda: load.send(SENDERS))
        load.row(f"{SENDERS} that stop halfway", lambda: load.stop_halfway(SENDERS))
        load.row("one alone, again", lambda: load.send(1))


def _body() -> bytes:
    """A valid request; its images differ in their last bytes, behind the end of the picture."""
    pixels = picture("JPEG", size=(400, 400))
    length = SEGMENT.to_bytes(2, "big")
    filled = b"\xff\xfe" + length + b"\0" * (SEGMENT - 2)  # FF FE: a comment
    whole = pixels[:2] + filled * ((IMAGE_BYTES - len(pixels)) // len(filled)) + pixels[2:]
    four = [b64encode(whole.ljust(IMAGE_BYTES, b"%d" % n)).decode() for n in range(4)]
    return json.dumps(image_url_body(element_image_list=image_list(*four))).encode()


@dataclass
class Load:
    """What is sent, and the process that it is sent to."""

    running: Stack
    key: str = field(repr=False)
    body: Path
    pid: int

    def row(self, title: str, work: Callable[[], Counter[str]]) -> None:
        before = _memory(self.pid, "VmRSS")
        Path(f"/proc/{self.pid}/clear_refs").write_text(RESET_PEAK)
        began = time.perf_counter()
        with _health_check_times(self.running.base_url) as check_times:
            answers = work()
        took = time.perf_counter() - began
        peak, after = _memory(self.pid, "VmHWM"), _memory(self.pid, "VmRSS")
        statuses = ", ".join(f"{count} x {status}" for status, count in answers.items())
        figures = f"{before:10.0f}{peak:7.0f}{after:7.0f}{took:7.1f}"
        print(
            f"{title:24}{figures}  {max(check_times) * 1000:.0f} ms of {len(check_times)};"
            f" {statuses}",
            flush=True,
        )

    def send(self, count: int) -> Counter[str]:
        """So many at once, from the same file, so that no memory goes to it here."""
        answers: Counter[str] = Counter()
        threads = [threading.Thread(target=self._one, args=(answers,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if set(answers) != {"202"}:
            raise Faulty(f"large bodies were answered {dict(answers)}")
        return answers

    def _one(self, answers: Counter[str]) -> None:
        try:
            with self._wire() as wire, self.body.open("rb") as body:
                wire.sendfile(body)
                answers[_status(wire)] += 1
        except OSError as error:
            answers[type(error).__name__] += 1

    def stop_halfway(self, count: int) -> Counter[str]:
        """All hang up once their halves are on disk; their files must go with them."""
        half = self.body.stat().st_size // 2
        with ExitStack() as opened:
            for _ in range(count):
                wire = opened.enter_context(self._wire())
                with self.body.open("rb") as body:
                    wire.sendfile(body, 0, half)
            _until(lambda: len(_files(self.pid)) == count)
            on_disk = sum(_files(self.pid))
        _until(lambda: not _files(self.pid))
        return Counter({f"{on_disk / count / 1e6:.0f} MB on disk, and gone": count})

    @contextmanager
    def _wire(self) -> Iterator[socket.socket]:
        """A connection that has sent the head."""
        host, _, port = self.running.base_url.rpartition("/")[2].partition(":")
        head = (
            f"POST /v1/subjects HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {self.key}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {self.body.stat().st_size}\r\n\r\n"
        )
        with closing(socket.create_connection((host, int(port)), PATIENCE)) as wire:
            wire.sendall(head.encode())
            yield wire


def _status(wire: socket.socket) -> str:
    return wire.recv(4096).partition(b"\r\n")[0].decode().split()[1]


@contextmanager
def _health_check_times(url: str) -> Iterator[list[float]]:
    """How long each GET of /healthz takes meanwhile, in seconds."""
    check_times: list[float] = []
    enough = threading.Event()

    def check() -> None:
        while not enough.wait(OFTEN):
            began = time.perf_counter()
            with urlopen(f"{url}/healthz", timeout=PATIENCE) as answer:  # noqa: S310 - our own
                answer.read()
            check_times.append(time.perf_counter() - began)

    thread = threading.Thread(target=check)
    thread.start()
    try:
        yield check_times
    finally:
        enough.set()
        thread.join()


def _memory(pid: int, name: str) -> float:
    """MB; VmRSS is held now, VmHWM was at most."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def _files(pid: int) -> list[int]:
    """The sizes of the files without a name that a process has open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "(deleted)" in os.readlink(descriptor):  # noqa: PTH115 - what it names is no path
                found.append(descriptor.stat().st_size)
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Faulty("a slow sender's body is not on disk, or stays there")
        time.sleep(OFTEN)


if __name__ == "__main__":
    bodies()
