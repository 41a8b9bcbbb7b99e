import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.core.cloudevents import structured

NUMBERS = b'{"id":"sub_1","n":[1.0,1e400,-0.0,123456789012345678901234567890,0.1000]}'


def body(data: bytes = NUMBERS) -> bytes:
    return (
        b'{"type":"subject.succeeded","timestamp":"2026-06-10T08:39:54.151Z","data":' + data + b"}"
    )


def made(whole: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(structured("evt_1", "acc_1", whole))
    return event


def test_an_event_has_the_attributes_that_cloudevents_asks_for() -> None:
    event = made(body(b'{"id":"sub_1","state":"succeeded"}'))
    assert event == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/callsheet/accounts/acc_1",
        "type": "subject.succeeded",
        "subject": "sub_1",
        "time": "2026-06-10T08:39:54.151Z",
        "datacontenttype": "application/json",
        "data": {"id": "sub_1", "state": "succeeded"},
    }


def test_the_data_is_there_to_the_byte() -> None:
    assert structured("evt_1", "acc_1", body()).endswith(b',"data":' + NUMBERS + b"}")


def test_the_same_event_is_always_the_same_bytes() -> None:
    assert structured("evt_1", "acc_1", body()) == structured("evt_1", "acc_1", body())


def test_an_operational_event_is_about_its_subscriber() -> None:
    assert made(body(b'{"subscriber_id":"sbr_1"}'))["subject"] == "sbr_1"


def test_an_event_about_nothing_has_no_subject() -> None:
    assert "subject" not in made(body(b'{"id":7}'))
    assert "subject" not in made(body(b"{}"))


def test_order_and_blanks_do_not_matter() -> None:
    loose = b'\n{ "data" : {"id": "sub_1"} ,"x":[], "timestamp":"t"\t,\r\n"type" : "a\\u00e9" } '
    event = made(loose)
    assert (event["type"], event["time"], event["data"]) == ("a\u00e9", "t", {"id": "sub_1"})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON), st.text(), st.booleans())
def test_any_data_keeps_its_meaning(data: dict[str, Any], type_: str, ascii_only: bool) -> None:  # noqa: FBT001
    whole = {"type": type_, "timestamp": "t", "data": data}
    text = json.dumps(whole, ensure_ascii=ascii_only)
    if "\\ud" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        return  # half a surrogate pair, which no body of ours can have
    event = made(text.encode())
    assert event["data"] == data
    assert event["type"] == type_
