"""Waiting for a condition, and the status with which an HTTP server of ours answers."""

import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

GET_TIMEOUT = 2.0  # seconds
POLL_INTERVAL = 0.01  # seconds


def http_status(url: str, key: str | None = None) -> int | None:
    """Status of a GET, with the API key if one is given; None without a response."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=GET_TIMEOUT)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until the condition is true, `timeout` seconds at most; whether it is."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True
