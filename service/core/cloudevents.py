"""An event as CloudEvents 1.0 (the specification, and its JSON format, of the CNCF).

It is made from the bytes that every subscriber is sent: `data` stands in it to the byte, so no
number is read and written anew, and the same event is always the same bytes.
"""

import json
import re
from typing import Final

import orjson

CONTENT_TYPE: Final = "application/cloudevents+json"  # JSON format, section 3, "Envelope"

_BLANK: Final = re.compile(r"[ \t\r\n]*")  # RFC 8259, section 2


def _unread(_: str) -> None:
    """A number stays as it is written; to read it may change it, or take long."""


_READ: Final = json.JSONDecoder(parse_int=_unread, parse_float=_unread)


def structured(event_id: str, account_id: str, body: bytes) -> bytes:
    """The event in structured mode; `body` is `{type, timestamp, data}`.

    `source` is the account, which stays what it is wherever the service moves; with `id` it makes
    the event unique (section "source & id"). `subject` is the subject's own id, or the
    subscriber's that an operational event is about.
    """
    members = _members(body.decode())
    data = _READ.decode(members["data"])
    subject = data.get("id") or data.get("subscriber_id")
    head = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/callsheet/accounts/{account_id}",
        "type": orjson.loads(members["type"]),
        **({"subject": subject} if isinstance(subject, str) else {}),
        "time": orjson.loads(members["timestamp"]),
        "datacontenttype": "application/json",
    }
    return orjson.dumps(head)[:-1] + b',"data":' + members["data"].encode() + b"}"


def _members(text: str) -> dict[str, str]:
    """The members of an object, each as it is written."""
    found = {}
    at = _past(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _READ.raw_decode(text, at)
        start = _past(text, text.index(":", at) + 1)
        _, at = _READ.raw_decode(text, start)
        found[str(name)] = text[start:at]
        at = _past(text, at)
        at = _past(text, at + 1) if text[at] == "," else at
    return found


def _past(text: str, at: int) -> int:
    """Where the next thing that is not blank stands."""
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at
