"""Deletions at the provider: their rows, and which is tried next."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import fields
from sqlalchemy import text

from service.erasure.domain.erasure import Erasure, ErasureState
from service.installation.domain.installation import Fence
from service.installation.store.fence import AT_HOME
from service.kit.database.connection import Connection
from service.subjects.domain.work import Work
from service.subjects.store.work import notify_sql


class ClaimedErasure(Struct, frozen=True):
    """A deletion that a worker has claimed, with what is known of its subject."""

    erasure: Erasure  # with the token of the claim
    account_id: str | None  # whose the subject is; None: there is no subject any more
    provider_task_id: str | None  # None: the provider never named it
    submitted_at: datetime | None  # when its newest submission began; None: there was none


_NAMES = ", ".join(field.name for field in fields(Erasure))
_REQUEST = text(f"""
    WITH requested AS (
        INSERT INTO erasures ({_NAMES}) VALUES (
            :subject_id, :state, :element_id, 0, :next_try_at, NULL, false, NULL, :now, :finished_at
        )
        ON CONFLICT (subject_id) DO UPDATE SET
            state = excluded.state, element_id = excluded.element_id, attempts = 0,
            next_try_at = excluded.next_try_at, stopped = false, error = NULL,
            requested_at = excluded.requested_at, finished_at = excluded.finished_at
        WHERE erasures.state = 'failed'
        RETURNING subject_id, next_try_at
    ),
    marked AS (
        UPDATE subjects SET erasure_requested_at = :now
        WHERE id = (SELECT subject_id FROM requested)
    )
    SELECT {notify_sql(Work.ERASE)} FROM requested WHERE next_try_at IS NOT NULL
""")  # noqa: S608 - only our own names are put in
_BY_SUBJECTS = text(f"""
    SELECT {_NAMES} FROM erasures WHERE subject_id = ANY (CAST(:subject_ids AS text[]))
""")  # noqa: S608 - likewise
# While the provider refuses our account or key, only the one that was stopped last is tried, when
# it is due: as many tries as wait would lock a key.
_CLAIM = text(f"""
    -- 1 the last that was stopped
    WITH stopped AS (
        SELECT subject_id FROM erasures WHERE stopped ORDER BY next_try_at DESC LIMIT 1
    ),
    -- 2 that one, as a probe
    probe AS (
        SELECT subject_id FROM erasures
        WHERE subject_id = (SELECT subject_id FROM stopped) AND state = 'pending'
        AND next_try_at <= :now AND {AT_HOME}
        FOR UPDATE SKIP LOCKED
    ),
    -- 3 those that are due, the first of them first, unless one was stopped
    due AS (
        SELECT subject_id FROM erasures
        WHERE state = 'pending' AND NOT stopped AND next_try_at <= :now
        AND NOT EXISTS (SELECT FROM stopped) AND {AT_HOME}
        ORDER BY next_try_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ),
    -- 4 the claim
    claimed AS (
        UPDATE erasures SET lease_token = :token, next_try_at = :lease_until
        WHERE subject_id = ANY (ARRAY(
            SELECT subject_id FROM probe UNION ALL SELECT subject_id FROM due
        ))
        RETURNING {_NAMES}
    )
    SELECT c.*, s.account_id, s.provider_task_id, s.claimed_at
    FROM claimed c LEFT JOIN subjects s ON s.id = c.subject_id
""")  # noqa: S608 - likewise
_RECORD = text("""
    UPDATE erasures SET
        state = :state, element_id = :element_id, attempts = :attempts,
        next_try_at = :next_try_at, lease_token = NULL, stopped = :stopped, error = :error,
        finished_at = :finished_at
    WHERE subject_id = :subject_id AND state = 'pending' AND lease_token = :lease_token
    RETURNING subject_id
""")
# What another transaction has locked is being tried: its own answer will say.
_RESUME = text(f"""
    WITH waiting AS (
        SELECT subject_id FROM erasures WHERE stopped AND lease_token IS NULL
        FOR UPDATE SKIP LOCKED
    ),
    resumed AS (
        UPDATE erasures SET stopped = false, next_try_at = least(next_try_at, :now)
        WHERE subject_id = ANY (ARRAY(SELECT subject_id FROM waiting))
    )
    SELECT {notify_sql(Work.ERASE)}
""")  # noqa: S608 - likewise


async def request(
    tx: Connection, subject_id: str, element_id: str | None, now: datetime, *, nothing_there: bool
) -> Erasure:
    """Ask for a deletion at the provider, and return it as it is then: pending, or done if there is
    nothing to delete there. One that was asked for before is left as it is, unless it failed: that
    begins anew. The caller has locked the subject."""
    values = {
        "subject_id": subject_id,
        "state": ErasureState.DONE if nothing_there else ErasureState.PENDING,
        "element_id": element_id,
        "next_try_at": None if nothing_there else now,
        "finished_at": now if nothing_there else None,
        "now": now,
    }
    await tx.execute(_REQUEST, values)
    return (await by_subjects(tx, [subject_id]))[subject_id]


async def by_subjects(tx: Connection, subject_ids: Sequence[str]) -> dict[str, Erasure]:
    """The deletions of these subjects, by the subject's id, where one was asked for."""
    found = [_erasure(row) for row in await tx.execute(_BY_SUBJECTS, {"subject_ids": subject_ids})]
    return {erasure.subject_id: erasure for erasure in found}


async def claim(  # noqa: PLR0913 - one claim's worth
    tx: Connection, fence: Fence, *, now: datetime, lease_until: datetime, token: str, limit: int
) -> list[ClaimedErasure]:
    """Claim at most `limit` deletions that are due, under a lease with this token until
    `lease_until`; one at most while the provider refuses our account or key, and none outside the
    fence: a copy deletes nothing of the original's."""
    values = {"now": now, "lease_until": lease_until, "token": token, "limit": limit}
    values |= fence.values()
    return [
        ClaimedErasure(_erasure(row[:-3]), *row[-3:]) for row in await tx.execute(_CLAIM, values)
    ]


async def record(tx: Connection, after: Erasure, lease_token: str) -> bool:
    """Write what became of a deletion by the try with this token; False, and nothing is written, if
    another claim has it by now."""
    values: dict[str, Any] = {
        name: getattr(after, name)
        for name in (
            *("subject_id", "state", "element_id", "attempts", "next_try_at", "stopped", "error"),
            "finished_at",
        )
    }
    return await tx.first(_RECORD, values | {"lease_token": lease_token}) is not None


async def resume(tx: Connection, now: datetime) -> None:
    """Let deletions go on that the provider stopped, as it takes our account and key again."""
    await tx.execute(_RESUME, {"now": now})


def _erasure(row: Sequence[Any]) -> Erasure:
    """The deletion of a row of _NAMES, which are Erasure's fields in their order."""
    values = dict(zip((field.name for field in fields(Erasure)), row, strict=True))
    return Erasure(**values | {"state": ErasureState(values["state"])})
