"""Events about subjects: their ids, their bodies, their entries in the event feed."""

import json

from service.subjects.domain.event import event_id, feed_entry, subject_event
from service.subjects.domain.representation import public_subject
from tests.support.subjects import make_subject


def test_an_event_is_the_subject_with_its_sequence() -> None:
    subject = make_subject()
    event = subject_event(subject)
    body = json.loads(event.body)
    assert body["type"] == "subject.queued"
    assert body["data"] == public_subject(subject) | {"sequence": 1}
    assert list(body) == ["type", "timestamp", "data"]
    assert json.loads(feed_entry(event.id, event.body)) == {"id": event.id} | body


def test_an_event_id_has_no_dot_and_is_the_same_each_time() -> None:
    first = event_id("sub_0123", 3)
    assert first == event_id("sub_0123", 3) == "evt_0123_3"
