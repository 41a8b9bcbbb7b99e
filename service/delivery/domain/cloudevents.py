"""CloudEvents 1.0 (of the CNCF): an event in structured mode, in the JSON format.

It is made from the bytes that every subscriber is sent: `data` stands in it to the byte, so no
number is read and written anew, and the same event is always the same bytes.
"""

from typing import Final

import orjson

CONTENT_TYPE: Final = "application/cloudevents+json"


def structured(event_id: str, account_id: str, body: bytes) -> bytes:
    """The event as a CloudEvent; `body` is as `subjects.domain.event.event_body` makes it.

    `source` is the account, which stays what it is wherever the service moves; `source` and `id`
    together are unique, as CloudEvents requires. `subject` is the subject's own id, or the
    subscriber's that an operational event is about.
    """
    start, _, raw_data = body[:-1].partition(b',"data":')
    event, data = orjson.loads(start + b"}"), orjson.loads(raw_data)
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/callsheet/accounts/{account_id}",
        "type": event["type"],
        "subject": data.get("id") or data["subscriber_id"],
        "time": event["timestamp"],
        "datacontenttype": "application/json",
    }
    return orjson.dumps(attributes)[:-1] + b',"data":' + raw_data + b"}"
