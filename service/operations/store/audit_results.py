"""What the workers' audit found, in the table `snapshot` of one row; and whose turn it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection
from service.operations.domain.audit_checks import AuditCheck, Violation


@dataclass(frozen=True, slots=True)
class EarlierAudit:
    """The audit before."""

    audited_at: datetime | None  # as of when; None: there was none
    violations: Sequence[Violation]  # that it knew of


# A start in the future was written by a wrong clock, and would delay the audit: it is ignored.
_START_IF_DUE = text("""
    UPDATE snapshot SET audit_started_at = :now
    WHERE id = 1 AND (
        audit_started_at IS NULL OR audit_started_at <= :since OR audit_started_at > :until
    )
    RETURNING audited_at, audit_findings
""")
_WRITE = text("""
    UPDATE snapshot SET audit = :audit, audit_findings = :findings, audited_at = :started_at
    WHERE id = 1 AND audit_started_at = :started_at
""")


async def start_if_due(tx: Connection, now: datetime, every: timedelta) -> EarlierAudit | None:
    """The audit before, if the caller is to make the next one; None for all but one caller in each
    interval `every`."""
    values = {"now": now, "since": now - every, "until": now + every}
    row = await tx.first(_START_IF_DUE, values)
    if row is None:
        return None
    known = (row["audit_findings"] or {}).items()
    return EarlierAudit(
        row["audited_at"],
        # A name that is not known was written by another release.
        [
            Violation(AuditCheck(check), about)
            for check, abouts in known
            if check in set(AuditCheck)
            for about in abouts
        ],
    )


async def write(
    tx: Connection, started_at: datetime, found: Mapping[AuditCheck, Sequence[str]]
) -> None:
    """Write what the audit that the caller began at `started_at` found; nothing if another has
    begun one since."""
    values = {
        "started_at": started_at,
        "audit": {check.value: len(found.get(check, ())) for check in AuditCheck},
        "findings": {check.value: abouts for check, abouts in found.items()},
    }
    await tx.execute(_WRITE, values)
