"""Whatever the bytes, a callback is stored, or refused by one of two errors; nothing else."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.callbacks.domain.callback import RawCallback
from service.callbacks.steps import ingest
from service.callbacks.steps.verify import verify
from service.intake.store import insert
from service.intake.store.insert import NewSubject
from service.operations.steps import audit
from service.resources import Resources
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from service.subjects.store import events
from service.subjects.store.events import NewEvent
from tests.support.callbacks import (
    TASK_ID,
    current_callback,
    legacy_callback,
    signed_headers,
    url_token,
)
from tests.support.database import fetch
from tests.support.subjects import make_subject

few_examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = tuple(json.loads(legacy_callback("s")) | json.loads(current_callback("s")))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
changes = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)
# What HTTP lets through in a header's value.
header_values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
header_names = st.sampled_from(
    ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent"]
)


async def ingested(
    resources: Resources, token: str | None, headers: dict[str, str], body: bytes
) -> str | None:
    """The verdict; None where it was refused as it may be."""
    raw = RawCallback("provider", token, headers, body, resources.clock())
    (result,) = await ingest.ingest(resources, [verify(resources, raw)])
    return None if result.refusal else result.verdict


async def submitted(resources: Resources, account_id: str) -> str:
    """A new subject that the provider has."""
    subject = make_subject(id=resources.new_id("sub"), account_id=account_id)
    async with resources.database.transaction() as tx:
        await insert.add_subjects(tx, [NewSubject(subject)])
        await events.append(tx, [NewEvent(subject_event(subject))])
    update = StatusUpdate(Signal.SUBMITTED, provider_task_id=subject.id)
    await transition(resources, subject.id, update)
    return subject.id


@few_examples
@given(changed=changes, write=st.sampled_from([legacy_callback, current_callback]))
@example(changed={"task_status": "thinking\0"}, write=legacy_callback)
@example(changed={"task_status": "failed", "task_status_msg": "\ud800\0"}, write=legacy_callback)
@example(changed={"task_id": 10**29, "updated_at": 10**13}, write=legacy_callback)
@example(changed={"create_time": -1, "update_time": 2**63}, write=current_callback)
@example(
    changed={"outputs": [{"type": "element", "id": "7", "name": "\0\ud800"}]},
    write=current_callback,
)
async def test_a_signed_record_with_anything_in_it_is_taken_or_malformed(
    resources: Resources, account: str, changed: dict[str, Any], write: Callable[..., bytes]
) -> None:
    subject_id = await submitted(resources, account)
    good = json.loads(write(subject_id, task=subject_id))
    body = json.dumps(good | changed).encode()
    headers = signed_headers(body, resources.clock(), f"msg_{subject_id}")
    verdict = await ingested(resources, url_token(resources, subject_id), headers, body)
    assert verdict in {None, "applied", "parked", "mismatch", "repeated"}
    stored = await fetch(
        resources, "SELECT * FROM callbacks WHERE dedup_key = $1", f"msg_{subject_id}"
    )
    assert [row["body"] for row in stored] == ([] if verdict is None else [body])
    assert (await audit.run_audit(resources)).violations == []


@few_examples
@given(body=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
async def test_signed_bytes_of_any_kind_are_taken_or_malformed(
    resources: Resources, body: bytes
) -> None:
    headers = signed_headers(body, resources.clock(), f"msg_{hashlib.sha256(body).hexdigest()}")
    assert await ingested(resources, None, headers, body) in {None, "unknown", "repeated"}


@few_examples
@given(token=st.none() | st.text(max_size=60), headers=st.dictionaries(header_names, header_values))
async def test_headers_and_addresses_of_any_kind_are_refused_by_their_own_error(
    resources: Resources, token: str | None, headers: dict[str, str]
) -> None:
    body = legacy_callback("sub_1", task=TASK_ID)
    assert await ingested(resources, token, headers, body) is None
    good = signed_headers(body, resources.clock()) | {"content-type": "x", "user-agent": "y"}
    plain_headers = {
        name: text for name, text in headers.items() if name in {"content-type", "user-agent"}
    }
    assert await ingested(resources, None, good | plain_headers, body) in {"unknown", "repeated"}
