"""The tables keep the law themselves: each CHECK refuses what it is there to refuse."""

from itertools import takewhile
from typing import Any

import pytest
from asyncpg import IntegrityConstraintViolationError
from msgspec.structs import asdict
from sqlalchemy import CheckConstraint, Table, insert

from service.resources import Resources
from service.schema import metadata
from service.schema.accounts import accounts
from service.schema.callbacks import callbacks
from service.schema.deliveries import deliveries, subscriber_health
from service.schema.erasures import erasures
from service.schema.events import events
from service.schema.installation import installation
from service.schema.operations import holds, operations, snapshot, stage_snapshots
from service.schema.provider import provider_state
from service.schema.retention import pruning, pruning_walks
from service.schema.subjects import subjects
from service.schema.subscribers import subscribers
from service.schema.transaction_ids import transaction_ids
from service.schema.usage import usage_days
from service.subjects.domain.lifecycle import State
from tests.support.subjects import NOW, make_subject

SUBJECT = asdict(make_subject()) | {"tags": [], "account_id": "acc_1"}
EVENT = {
    "id": "evt_1",
    "subject_id": SUBJECT["id"],
    "account_id": "acc_1",
    "sequence": 1,
    "type": "subject.queued",
    "body": b"{}",
    "created_at": NOW,
}
SUBSCRIBER = {
    "id": "sbr_1",
    "account_id": "acc_1",
    "url": "https://example.com",
    "state": "active",
    "secret": b"",
    "created_at": NOW,
}
DELIVERY = {
    "id": "dlv_1",
    "event_id": "evt_1",
    "subscriber_id": "sbr_1",
    "ordering_key": SUBJECT["id"],
    "sequence": 1,
    "state": "pending",
    "due_at": NOW,
    "created_at": NOW,
}
HEALTH = {"subscriber_id": "sbr_1"}
CALLBACK = {
    "id": "cbk_1",
    "source": "provider",
    "dedup_key": "1",
    "body": b"",
    "headers": {},
    "verdict": "applied",
    "received_at": NOW,
    "verification": "signed",
    "size": 0,
}
STAGE = {"minute": NOW, "stage": "queued", "items": 0}
HOLD = {"id": "hld_1", "what": "intake", "reason": "maintenance", "created_at": NOW}
OPERATION = {
    "id": "opr_1",
    "what": "resend",
    "filter": {},
    "cut_off": NOW,
    "state": "running",
    "count": 1,
    "count_exact": True,
    "cannot": {},
    "first": [],
    "next_step_at": NOW,
    "created_at": NOW,
}
ERASURE = {"subject_id": SUBJECT["id"], "state": "pending", "next_try_at": NOW, "requested_at": NOW}
USAGE = {
    "account_id": "acc_1",
    "day": NOW.date(),
    "reference_type": "image_refer",
    "outcome": "succeeded",
    "pruned": True,
    "count": 1,
    "units": 1,
    "units_unknown": 0,
    "creates_saved": 0,
}
WALK = {"kind": "failed", "began_at": NOW, "after_at": NOW, "after_id": "sub_1", "kept": 0}
TRANSACTION_IDS = {"id": 2, "added": 0, "system_identifier": 1}
INSTALLATION = {"id": 2, "installation_id": "ins_1"}
ROWS: dict[Table, dict[str, Any]] = {
    subjects: SUBJECT,
    events: EVENT,
    subscribers: SUBSCRIBER,
    deliveries: DELIVERY,
    subscriber_health: HEALTH,
    callbacks: CALLBACK,
    stage_snapshots: STAGE,
    holds: HOLD,
    operations: OPERATION,
    erasures: ERASURE,
    usage_days: USAGE,
    pruning_walks: WALK,
}
LEASED = {"lease_token": "lse_1", "lease_until": NOW}
ENDED = {"finished_at": NOW}
DONE = {"state": "done", "next_step_at": None} | ENDED  # of an operation
ERASED = {"state": "done", "next_try_at": None} | ENDED  # of an erasure

# What each CHECK must refuse: changes to a good row.
BROKEN: list[tuple[Table, str, dict[str, Any]]] = [
    (subjects, "ck_subjects_state", {"state": "lost"}),
    (subjects, "ck_subjects_finished", {"state": State.CANCELED}),
    (subjects, "ck_subjects_finished", ENDED),
    (subjects, "ck_subjects_lease", {"state": State.SUBMITTING}),
    (subjects, "ck_subjects_lease", LEASED),
    (subjects, "ck_subjects_lease", {"lease_until": NOW}),
    (
        subjects,
        "ck_subjects_lease",
        {"state": State.SUBMITTING, "lease_token": "lse_1"},
    ),
    (subjects, "ck_subjects_result", ENDED | {"state": State.SUCCEEDED}),
    (subjects, "ck_subjects_result", {"result": {"element_id": "1"}}),
    (subjects, "ck_subjects_error", ENDED | {"state": State.FAILED}),
    (subjects, "ck_subjects_error", {"error": {"code": "x"}}),
    (subjects, "ck_subjects_counts", {"version": 0}),
    (subjects, "ck_subjects_counts", {"attempts": -1}),
    (subjects, "ck_subjects_counts", {"poll_count": -1}),
    (subjects, "ck_subjects_poll", {"next_poll_at": NOW}),
    (subjects, "ck_subjects_poll", {"state": State.SUBMITTED}),
    (subjects, "ck_subjects_poll", {"state": State.UNCONFIRMED}),
    (subjects, "ck_subjects_poll", {"state": State.PROCESSING}),
    (subjects, "ck_subjects_media", {"media_lease_token": "lse_1"}),
    (subjects, "ck_subjects_erased", {"erased_at": NOW}),
    (events, "ck_events_sequence", {"sequence": 0}),
    (events, "ck_events_about", {"subject_id": None}),
    (events, "ck_events_about", {"about_subscriber_id": "sbr_1"}),
    (subscribers, "ck_subscribers_state", {"state": "asleep"}),
    (subscribers, "ck_subscribers_type", {"type": "pigeon"}),
    (subscribers, "ck_subscribers_ordering", {"ordering": "random"}),
    (subscribers, "ck_subscribers_format", {"format": "xml"}),
    (subscriber_health, "ck_subscriber_health_failing", {"failures": 1}),
    (subscriber_health, "ck_subscriber_health_failing", {"failing_since": NOW}),
    (subscriber_health, "ck_subscriber_health_status", {"status": "a tale"}),
    (deliveries, "ck_deliveries_state", {"state": "lost"} | ENDED | {"due_at": None}),
    (deliveries, "ck_deliveries_finished", {"state": "dead", "due_at": None}),
    (deliveries, "ck_deliveries_finished", ENDED),
    (deliveries, "ck_deliveries_ended", {"state": "dead"} | ENDED),
    (
        deliveries,
        "ck_deliveries_ended",
        {"state": "dead", "due_at": None, "lease_token": "lse_1"} | ENDED,
    ),
    (callbacks, "ck_callbacks_verdict", {"verdict": "lost"}),
    (callbacks, "ck_callbacks_verification", {"verification": "much"}),
    (provider_state, "ck_provider_state_one_row", {"id": 2}),
    (stage_snapshots, "ck_stage_snapshots_stage", {"stage": "lost"}),
    (stage_snapshots, "ck_stage_snapshots_oldest", {"items": 1}),
    (snapshot, "ck_snapshot_one_row", {"id": 2}),
    (holds, "ck_holds_what", {"what": "all"}),
    (operations, "ck_operations_what", {"what": "repeat"}),
    (operations, "ck_operations_state", {"state": "lost", "next_step_at": None} | ENDED),
    (operations, "ck_operations_finished", ENDED),
    (operations, "ck_operations_step", {"next_step_at": None}),
    (operations, "ck_operations_lease", DONE | {"lease_token": "lse_1"}),
    (operations, "ck_operations_stopped", DONE | {"stop_reason": "asked"}),
    (operations, "ck_operations_stopped", DONE | {"state": "stopped"}),
    (operations, "ck_operations_stop_reason", DONE | {"state": "stopped", "stop_reason": "late"}),
    (erasures, "ck_erasures_state", {"state": "lost", "next_try_at": None} | ENDED),
    (erasures, "ck_erasures_finished", ENDED),
    (erasures, "ck_erasures_next_try", {"next_try_at": None}),
    (erasures, "ck_erasures_stopped", {"stopped": True}),
    (erasures, "ck_erasures_error", {"state": "failed", "next_try_at": None} | ENDED),
    (erasures, "ck_erasures_error", ERASED | {"error": {"code": "x", "message": "y"}}),
    (erasures, "ck_erasures_attempts", {"attempts": -1}),
    (
        erasures,
        "ck_erasures_lease",
        {"state": "done", "next_try_at": None, "lease_token": "lse_1"} | ENDED,
    ),
    (usage_days, "ck_usage_days_outcome", {"outcome": "lost"}),
    (pruning, "ck_pruning_one_row", {"id": 2}),
    (pruning_walks, "ck_pruning_walks_kind", {"kind": "lost"}),
    (pruning_walks, "ck_pruning_walks_kept", {"kept": -1}),
    (installation, "ck_installation_one_row", INSTALLATION),
    (installation, "ck_installation_held", INSTALLATION | {"id": 1, "held_reason": "copied"}),
    (transaction_ids, "ck_transaction_ids_one_row", TRANSACTION_IDS),
    (transaction_ids, "ck_transaction_ids_added", TRANSACTION_IDS | {"id": 1, "added": -1}),
]


# What may be there once only: a second row with another id, and the rest the same.
ONCE: list[tuple[Table, str, dict[str, Any]]] = [
    (subjects, "account_id_external_task_id", {"external_task_id": "mine"}),
    (subjects, "provider_task_id", {"provider_task_id": "theirs"}),
    (events, "subject_id_sequence", {}),
    (callbacks, "source_dedup_key", {}),
]


async def put(resources: Resources, table: Table, *rows: dict[str, Any]) -> None:
    """An account, a good row of each table up to but not including `table`, then `rows`."""
    async with resources.database.transaction() as tx:
        await tx.execute(insert(accounts).values(id="acc_1", name="a", created_at=NOW))
        for before in takewhile(lambda one: one is not table, ROWS):
            await tx.execute(insert(before).values(ROWS[before]))
        for row in rows:
            await tx.execute(insert(table).values(row))


def test_every_check_is_broken_by_some_row() -> None:
    declared = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert {name for _, name, _ in BROKEN} == declared


async def test_the_rows_are_good_but_for_the_changes(resources: Resources) -> None:
    leased = SUBJECT | LEASED | {"id": "sub_2", "state": State.SUBMITTING}
    await put(resources, provider_state)
    async with resources.database.transaction() as tx:
        await tx.execute(insert(subjects).values(leased))


async def test_a_row_that_breaks_the_law_is_refused(resources: Resources) -> None:
    for table, name, changes in BROKEN:
        with pytest.raises(IntegrityConstraintViolationError, match=f'"{name}"'):
            await put(resources, table, ROWS.get(table, {}) | changes)


async def test_what_may_be_there_once_is_refused_twice(resources: Resources) -> None:
    for table, columns, changes in ONCE:
        row = ROWS[table] | changes
        with pytest.raises(IntegrityConstraintViolationError, match=f'"uq_{table.name}_{columns}"'):
            await put(resources, table, row, row | {"id": "another"})
