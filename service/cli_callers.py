"""What the commands of callers do: each asks a running service over HTTP, with a caller's key."""

import argparse
import json
import os
import sys
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, NoReturn
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from service.kit.text import escape_unprintable

REFUSED: Final = 5  # the exit code: the service refuses it, or there is no key
NO_ANSWER: Final = 6  # the exit code: the service cannot be reached, or has a fault
TIMEOUT: Final = 60.0  # seconds
MAX_ANSWER: Final = 20_000_000  # bytes
CLIENT_ERRORS: Final = range(400, 500)


class _Failed(Exception):
    """A call came to nothing."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code  # the command's exit code


class _NoRedirects(HTTPRedirectHandler):
    """The key is for the service that was named, and for nobody that it names."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - the library's own
        return None


def story(given: argparse.Namespace) -> int:
    """Print the story of a subject, as a file."""
    try:
        told = _get(given, f"/v1/subjects/{quote(given.id, safe='')}/story")
    except _Failed as failed:
        print(f"callsheet story: {failed}", file=sys.stderr)
        return failed.code
    print(json.dumps(told, indent=2))
    return 0


def _get(given: argparse.Namespace, path: str) -> Any:  # noqa: ANN401 - JSON
    """What the service answers; _Failed if that is no success."""
    url = given.url or os.environ.get("CALLSHEET_URL")
    key = given.key or os.environ.get("CALLSHEET_KEY")
    if not url or not key:
        raise _Failed(REFUSED, "CALLSHEET_URL and CALLSHEET_KEY, or --url and --key, are needed")
    if urlsplit(url).scheme not in ("http", "https") or not (key.isascii() and key.isprintable()):
        raise _Failed(
            REFUSED, "the address must begin with http:// or https://, and the key is text"
        )
    request = Request(url.rstrip("/") + path, headers={"authorization": f"Bearer {key}"})  # noqa: S310 - the scheme was looked at
    try:
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT) as answer:
            return _read(answer)
    except HTTPError as error:
        _refuse(error)
    except (HTTPException, OSError, ValueError, RecursionError) as error:
        raise _Failed(NO_ANSWER, f"no answer ({type(error).__name__})") from None


def _read(answer: HTTPResponse) -> Any:  # noqa: ANN401 - JSON
    body = answer.read(MAX_ANSWER + 1)
    if len(body) > MAX_ANSWER:
        raise _Failed(NO_ANSWER, f"the answer has more than {MAX_ANSWER} bytes")
    return json.loads(body)


def _refuse(error: HTTPError) -> NoReturn:
    """Raise what an HTTP status comes to: the status first, then what is said of it."""
    said = "and nothing that can be read"
    with error, suppress(HTTPException, OSError):
        said = escape_unprintable(error.read(2000))
    code = REFUSED if error.code in CLIENT_ERRORS else NO_ANSWER
    raise _Failed(code, f"status {error.code}: {said}")
