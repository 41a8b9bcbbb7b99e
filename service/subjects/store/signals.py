"""SQL of the signals that are kept with a subject: a JSON array, oldest first, bounded."""

from typing import Any, Final

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.kit.database.json_rows import encode_rows
from service.subjects.domain.signal_record import (
    COUNT,
    LAST_AT,
    LAST_REQUEST_ID,
    LEFT_OUT,
    TIMES,
    SignalRecord,
)

MAX_ENTRIES: Final = 64  # of one subject; beyond, those in the middle are only counted
MIDDLE: Final = MAX_ENTRIES // 2  # the place of the entry that counts them

_TIMES = ", ".join(f"'{name}'" for name in TIMES)


def appended(signals: str, entry: str) -> str:
    """SQL of the array `signals` with the object `entry` behind the others; both are SQL, and may
    be null. An entry like the last one, but for its times, is counted in that one."""
    last = f"{signals} -> -1"
    return f"""CASE
        WHEN {entry} IS NULL THEN {signals}
        WHEN {last} @> ({entry} - ARRAY[{_TIMES}]) THEN jsonb_set({signals}, '{{-1}}',
            ({last}) || jsonb_strip_nulls(jsonb_build_object(
                '{COUNT}', coalesce(CAST({last} ->> '{COUNT}' AS int), 1) + 1,
                '{LAST_AT}', {entry} -> 'at', '{LAST_REQUEST_ID}', {entry} -> 'request_id'
            )))
        WHEN jsonb_array_length({signals}) < {MAX_ENTRIES} THEN {signals} || {entry}
        WHEN {signals} IS NULL THEN jsonb_build_array({entry})
        ELSE jsonb_set({signals} - {MIDDLE + 1}, '{{{MIDDLE}}}', jsonb_build_object('{LEFT_OUT}',
            coalesce(CAST({signals} -> {MIDDLE} ->> '{LEFT_OUT}' AS int),
                CAST({signals} -> {MIDDLE} ->> '{COUNT}' AS int), 1)
            + coalesce(CAST({signals} -> {MIDDLE + 1} ->> '{COUNT}' AS int), 1))) || {entry}
    END"""


# For a statement whose parameter `signal` is that of signal_value().
APPENDED: Final = appended("signals", "CAST(CAST(:signal AS text) AS jsonb)")
_APPEND = text(f"UPDATE subjects SET signals = {APPENDED} WHERE id = :id")  # noqa: S608 - our own words


def signal_value(record: SignalRecord | None) -> str | None:
    """The parameter `signal` of APPENDED; None appends nothing."""
    return None if record is None else encode_rows([record.document()])[1:-1]


async def append(tx: Connection, subject_id: str, record: SignalRecord) -> None:
    """Keep a signal that wrote nothing else."""
    values: dict[str, Any] = {"id": subject_id, "signal": signal_value(record)}
    await tx.execute(_APPEND, values)
