"""Signals that ask us to end: SIGTERM and SIGHUP raise an exception, and all can be deferred."""

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
    """Have SIGTERM and SIGHUP raise SystemExit in the main thread, so that `with` blocks are left.

    A signal that something already handles or ignores (nohup) is left alone.
    """
    unhandled = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if _in_main_thread() and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in unhandled:
        signal.signal(number, _raise_system_exit)
    try:
        yield
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer SIGINT, SIGTERM and SIGHUP until the block is done."""
    if not _in_main_thread():
        yield
        return
    received: list[int] = []
    handlers = {
        ending: signal.signal(ending, lambda number, _frame: received.append(number))
        for ending in END_SIGNALS
    }
    try:
        yield
    finally:
        for ending, handler in handlers.items():
            signal.signal(ending, signal.SIG_DFL if handler is None else handler)
        if received:
            signal.raise_signal(received[0])
