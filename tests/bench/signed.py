"""The callbacks that are sent: signed, terminal, 1 kB, in the older of the provider's shapes."""

import json
import time
from collections.abc import Sequence

from service.kit.crypto.key_formats import parse_whsec
from service.kit.crypto.webhook_signatures import signature_headers
from tests.bench.subject_rows import RECORD

BODY_BYTES = 1000


def prepared(secret: str, port: int, subject_ids: Sequence[tuple[str, str]]) -> list[bytes]:
    """The requests, whole, for subjects given as (stem, task): signed now, so use them soon."""
    key, now = parse_whsec(secret), int(time.time())
    begin = f"POST /callbacks HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json"
    return [_request(begin, key, now, stem, task) for stem, task in subject_ids]


def _request(begin: str, key: bytes, now: int, stem: str, task: str) -> bytes:
    body = _filled(_BODY, stem, task)
    signed = signature_headers([key], task + "0", now, body)
    lines = [begin, f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in signed.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _filled(body: bytes, stem: str, task: str) -> bytes:
    return body.replace(b"{stem}", stem.encode()).replace(b"{task}", task.encode())


def _body(padding: str) -> bytes:
    element = RECORD["task_result"]["elements"][0]
    images = {"frontal_image": "https://media.example/" + padding}
    result = {"elements": [element | {"element_image_list": images}]}
    return json.dumps(RECORD | {"task_result": result}).encode()


# The URL of an image makes it 1 kB, with a stem of 26 characters and a task of 19 digits.
_BODY = _body("x" * (BODY_BYTES - len(_filled(_body(""), "s" * 26, "t" * 19))))
