"""Events as CloudEvents: the attributes that are asked for, and the data to the byte."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.domain.cloudevents import structured
from service.erasure.domain.tombstone import tombstone
from service.subjects.domain.event import (
    SUBJECT_EVENT_TYPES,
    HealthNotice,
    erased_event,
    event_body,
    subject_event,
    subscriber_event,
)
from service.subjects.domain.lifecycle import State
from service.subscribers.domain.subscriber_rules import EVENT_TYPES
from service.subscribers.steps.send_test import TEST_EVENT_TYPE
from tests.support.subjects import NOW, make_subject

SUBSCRIBER = "sbr_00000000000000000000000001"
TIME = "2026-11-22T12:00:00.000Z"
EVENTS = [
    *(subject_event(make_subject(state=state, updated_at=NOW)) for state in SUBJECT_EVENT_TYPES),
    *(
        subscriber_event("acc_1", SUBSCRIBER, 1, notice, NOW, reason="why")
        for notice in HealthNotice
    ),
]
ENDED = make_subject(state=State.CANCELED, updated_at=NOW, finished_at=NOW)
EVENTS.append(erased_event(tombstone(ENDED, NOW), NOW, ()))
BODIES = {event.type: event.body for event in EVENTS}
BODIES[TEST_EVENT_TYPE] = event_body(TEST_EVENT_TYPE, NOW, {"subscriber_id": SUBSCRIBER})


def test_an_event_has_the_attributes_that_cloudevents_asks_for() -> None:
    body = event_body("subject.succeeded", NOW, {"id": "sub_1", "state": "succeeded"})
    assert json.loads(structured("evt_1", "acc_1", body)) == {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/callsheet/accounts/acc_1",
        "type": "subject.succeeded",
        "subject": "sub_1",
        "time": TIME,
        "datacontenttype": "application/json",
        "data": {"id": "sub_1", "state": "succeeded"},
    }


def test_events_of_every_type_are_tried() -> None:
    assert set(BODIES) == {*EVENT_TYPES, TEST_EVENT_TYPE}


@pytest.mark.parametrize("type_", BODIES)
def test_an_event_of_any_type_keeps_its_data_to_the_byte(type_: str) -> None:
    body = BODIES[type_]
    data = json.loads(body)["data"]
    made = structured("evt_1", "acc_1", body)
    event = json.loads(made)
    assert (event["type"], event["time"]) == (type_, TIME)
    assert event["subject"] == data.get("id", SUBSCRIBER)
    assert made.endswith(b',"data":' + orjson.dumps(data) + b"}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_any_data_keeps_its_meaning(data: dict[str, Any]) -> None:
    data |= {"id": ',"data":'}
    event = json.loads(structured("evt_1", "acc_1", event_body("t", NOW, data)))
    assert (event["type"], event["subject"], event["data"]) == ("t", ',"data":', data)
