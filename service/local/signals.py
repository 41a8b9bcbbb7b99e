"""Being asked to end: SIGTERM and a closed terminal become exceptions, and both can be put off."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _raise_system_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit in the main thread, so that `with` blocks are left.

    A signal that something already handles or ignores (nohup) is left alone.
    """
    mine = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if _in_main_thread() and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in mine:
        signal.signal(number, _raise_system_exit)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """What asks us to end waits until the block is done: nothing in it is left half done."""
    if not _in_main_thread():
        yield
        return
    waiting: list[int] = []
    before = {
        ending: signal.signal(ending, lambda number, _frame: waiting.append(number))
        for ending in END_SIGNALS
    }
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, signal.SIG_DFL if handler is None else handler)
        if waiting:
            signal.raise_signal(waiting[0])
