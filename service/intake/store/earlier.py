"""What was made earlier under the names that requests give: read for many of them at once."""

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import text

from service.intake.store.idempotency import Binding
from service.kit.database.connection import Connection
from service.kit.database.json_rows import columns_of, encode_rows, from_rows


class Names(Struct, frozen=True, omit_defaults=True):
    """By which names a request may refer to what was made earlier; None: it gives no such name."""

    place: int  # of the request among those that are asked for, from 0
    account_id: str  # whose names they are
    key: str | None = None  # its idempotency key
    external_task_id: str | None = None  # the caller's own id of the subject
    origin: str | None = None  # that of its callback_url: see origin_of()


class Earlier(Struct, frozen=True):
    """What was made earlier under a request's names; None: nothing."""

    binding: Binding | None  # of the idempotency key
    subject_id: str | None  # of the subject that has the external_task_id
    callback_subscriber_id: str | None  # of the hidden subscriber of the origin


# For why a subject is sought in this way see subjects/store/subjects.py.
_FIND = text(f"""
    SELECT k.fingerprint, k.subject_id, k.created_at,
        CASE s.external_task_id WHEN names.external_task_id THEN s.id END, (
            SELECT id FROM subscribers
            WHERE account_id = names.account_id AND url = names.origin AND type = 'callback'
        )
    FROM {from_rows("names", columns_of(Names))}
    LEFT JOIN LATERAL (
        SELECT fingerprint, subject_id, created_at FROM idempotency_keys
        WHERE account_id = names.account_id AND key = names.key
        LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        SELECT id, external_task_id FROM subjects
        WHERE account_id = names.account_id AND external_task_id >= names.external_task_id
        ORDER BY external_task_id LIMIT 1
    ) s ON true
    ORDER BY names.place
""")  # noqa: S608 - only our own column names are put in


async def find(tx: Connection, names: Sequence[Names]) -> list[Earlier]:
    """What was made earlier under the names of each request, in the order of their places; a
    binding also after it has expired. Nothing is locked."""
    return [
        Earlier(Binding(*row[:3]) if row[1] else None, row[3], row[4])
        for row in await tx.execute(_FIND, {"names": encode_rows(names)})
    ]
