"""Subjects, read and locked. intake/store/insert.py writes new ones, transitions.py their moves."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import fields
from sqlalchemy import Select, bindparam, select, text

from service.kit.database.connection import Connection
from service.schema.subjects import subjects
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject, SubjectView, WaitingView

COLUMNS = tuple(subjects.c[field.name] for field in fields(Subject))
COLUMN_NAMES = ", ".join(column.name for column in COLUMNS)
VIEW_COLUMNS = tuple(subjects.c[field.name] for field in fields(WaitingView))
_VIEW_NAMES = ", ".join(column.name for column in VIEW_COLUMNS)
_STATE_INDEX = [field.name for field in fields(SubjectView)].index("state")  # in all
_STATES = {state.value: state for state in State}  # State(value) costs more than all the rest

# Statements are built once: building one and finding it in the cache costs more than running it.
_BY_ID = select(*COLUMNS).where(subjects.c.id == bindparam("subject_id"))
_BY_ID_AND_ACCOUNT = _BY_ID.where(subjects.c.account_id == bindparam("account"))
_LOCK = _BY_ID.with_for_update()
_BY_IDS = text(f"""
    SELECT {COLUMN_NAMES} FROM subjects WHERE id = ANY (CAST(:ids AS text[]))
""")  # noqa: S608 - only our own column names are put in
_VIEWS = text(f"""
    SELECT {_VIEW_NAMES} FROM subjects WHERE id = ANY (CAST(:ids AS text[]))
""")  # noqa: S608 - likewise
# It is read from its place in the order of all external ids of the account, which only the index
# that leads there directly has. For equality alone another index of the account's looks as good
# while the table is small, and then all that the account has would be read.
_BY_EXTERNAL_ID = text(f"""
    SELECT {", ".join(f"s.{column.name}" for column in COLUMNS)}
    FROM unnest(CAST(:accounts AS text[]), CAST(:external_ids AS text[]))
        AS given (account_id, external_id)
    CROSS JOIN LATERAL (
        SELECT * FROM subjects
        WHERE account_id = given.account_id AND external_task_id >= given.external_id
        ORDER BY external_task_id LIMIT 1
    ) s
    WHERE s.external_task_id = given.external_id
""")  # noqa: S608 - likewise
_TRACEPARENT = select(subjects.c.traceparent).where(subjects.c.id == bindparam("subject_id"))
_ID_BY_PROVIDER_TASK = select(subjects.c.id).where(subjects.c.provider_task_id == bindparam("task"))
# The order of the ids keeps two batches that share subjects from waiting for each other.
_LOCK_ALL = text(f"""
    SELECT {COLUMN_NAMES} FROM subjects
    WHERE id = ANY (CAST(:ids AS text[]) || ARRAY(
        SELECT id FROM subjects WHERE provider_task_id = ANY (CAST(:provider_task_ids AS text[]))
    ))
    ORDER BY id FOR UPDATE
""")  # noqa: S608 - likewise


async def get(tx: Connection, subject_id: str, account_id: str | None = None) -> Subject | None:
    """The subject of this id; None if there is none, or if it is another account's than the given
    one."""
    if account_id is None:
        return await _first(tx, _BY_ID, subject_id=subject_id)
    return await _first(tx, _BY_ID_AND_ACCOUNT, subject_id=subject_id, account=account_id)


async def by_ids(tx: Connection, ids: Sequence[str]) -> dict[str, Subject]:
    """The subjects that have these ids of ours, by id."""
    rows = await tx.execute(_BY_IDS, {"ids": ids})
    return {subject.id: subject for subject in map(subject_of, rows)}


async def views(
    tx: Connection, accounts_and_ids: Sequence[tuple[str, str]]
) -> list[WaitingView | None]:
    """The subject of each account id and subject id, in the order given; None where the account
    has no subject of this id."""
    found = await views_by_ids(tx, [id_ for _, id_ in accounts_and_ids])
    by_key = {(subject.account_id, subject.id): subject for subject in found}
    return [by_key.get(key) for key in accounts_and_ids]


async def views_by_ids(tx: Connection, ids: Sequence[str]) -> list[WaitingView]:
    """The subjects that have these ids of ours, in any order."""
    return [view_of(row) for row in await tx.execute(_VIEWS, {"ids": ids})]


async def by_external_id(
    tx: Connection, accounts_and_external_ids: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Subject]:
    """The subject of each account id and external_task_id, where there is one."""
    values = {
        "accounts": [account_id for account_id, _ in accounts_and_external_ids],
        "external_ids": [external_id for _, external_id in accounts_and_external_ids],
    }
    found = map(subject_of, await tx.execute(_BY_EXTERNAL_ID, values))
    return {(subject.account_id, str(subject.external_task_id)): subject for subject in found}


async def id_by_provider_task(tx: Connection, provider_task_id: str) -> str | None:
    """The id of the subject that has this task of the provider's; None if no subject has it."""
    id_: str | None = await tx.scalar(_ID_BY_PROVIDER_TASK, {"task": provider_task_id})
    return id_


async def lock(tx: Connection, subject_id: str) -> Subject | None:
    """The subject of this id, which nobody else moves until this transaction ends; None if there is
    none."""
    return await _first(tx, _LOCK, subject_id=subject_id)


async def lock_all(
    tx: Connection, *, ids: Sequence[str], provider_task_ids: Sequence[str]
) -> list[Subject]:
    """The subjects that have one of these ids of ours or of the provider's, which nobody else moves
    until this transaction ends."""
    values = {"ids": ids, "provider_task_ids": provider_task_ids}
    return [subject_of(row) for row in await tx.execute(_LOCK_ALL, values)]


async def _first(tx: Connection, statement: Select[Any], **values: str) -> Subject | None:
    row = await tx.first(statement, values)
    return None if row is None else subject_of(row)


def subject_of(row: Sequence[Any]) -> Subject:
    """The subject of a row of COLUMNS, which are Subject's fields in their order."""
    return Subject(*_values(row))


def view_of(row: Sequence[Any]) -> WaitingView:
    """The subject of a row of VIEW_COLUMNS, which are WaitingView's fields in their order."""
    return WaitingView(*_values(row))


def _values(row: Sequence[Any]) -> list[Any]:
    values = list(row)
    values[_STATE_INDEX] = _STATES[values[_STATE_INDEX]]
    return values


async def traceparent(tx: Connection, subject_id: str) -> str | None:
    """The span that accepted this subject, as W3C Trace Context writes it; None if there is no such
    subject, or it was not traced."""
    row = await tx.first(_TRACEPARENT, {"subject_id": subject_id})
    return None if row is None else row[0]
