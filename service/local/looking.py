"""Whether an HTTP server of ours answers."""

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

ANSWER = 2.0  # seconds one look may take


def status_of(url: str, key: str | None = None) -> int | None:
    """The status of a GET, with an API key if one is given; None without an answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        connection.request("GET", target, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
