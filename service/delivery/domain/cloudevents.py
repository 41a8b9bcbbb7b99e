"""An event as CloudEvents 1.0 (the specification, and its JSON format, of the CNCF).

It is made from the bytes that every subscriber is sent: `data` stands in it to the byte, so no
number is read and written anew, and the same event is always the same bytes.
"""

from typing import Final

import orjson

CONTENT_TYPE: Final = "application/cloudevents+json"  # JSON format, section 3, "Envelope"


def structured(event_id: str, account_id: str, body: bytes) -> bytes:
    """The event in structured mode; `body` is as `events.event_body` makes it.

    `source` is the account, which stays what it is wherever the service moves; with `id` it makes
    the event unique (section "source & id"). `subject` is the subject's own id, or the
    subscriber's that an operational event is about.
    """
    start, _, data = body[:-1].partition(b',"data":')
    told, about = orjson.loads(start + b"}"), orjson.loads(data)
    head = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/callsheet/accounts/{account_id}",
        "type": told["type"],
        "subject": about.get("id") or about["subscriber_id"],
        "time": told["timestamp"],
        "datacontenttype": "application/json",
    }
    return orjson.dumps(head)[:-1] + b',"data":' + data + b"}"
