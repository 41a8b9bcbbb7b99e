"""Whose keys these are, and how many requests their accounts may make."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text

from service.kit.database.connection import Connection

OPERATOR = "operator"  # the scope that opens every account
LAST_USED_RESOLUTION = timedelta(
    minutes=1
)  # last_used_at moves in steps: no write on every request


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a key belongs to, and what it opens. An operator may act in another account than its own:
    then it is that account that stands here."""

    key_id: str
    account_id: str
    account_name: str
    scopes: frozenset[str]

    @property
    def is_operator(self) -> bool:
        """Whether it sees every account."""
        return OPERATOR in self.scopes

    @property
    def account_field(self) -> dict[str, str]:
        """What every answer to an operator says beside the rest; nothing for anybody else."""
        return {"account": self.account_name} if self.is_operator else {}


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose key it is, or whose access key: then `secret` is the sealed secret key beside it.
    `unnoted`: it is not noted that it was used just now."""

    caller: Caller
    secret: bytes | None = field(repr=False)
    last_used_is_stale: bool


_OWNERS_BY_DIGEST = text("""
    SELECT k.hash, k.id, a.id, a.name, k.scopes, k.secret,
        k.last_used_at IS NULL OR k.last_used_at < :stale
    FROM api_keys k JOIN accounts a ON a.id = k.account_id
    WHERE k.hash = ANY (CAST(:digests AS bytea[])) AND k.revoked_at IS NULL
    AND (k.expires_at IS NULL OR k.expires_at > :now)
""")
_SET_LAST_USED = text("""
    UPDATE api_keys SET last_used_at = :now WHERE id = ANY (CAST(:ids AS text[]))
""")


async def owners_by_digest(
    tx: Connection, digests: Sequence[bytes], now: datetime
) -> dict[bytes, KeyOwner]:
    """Whose these are, as far as they are neither revoked nor expired."""
    values = {"digests": digests, "now": now, "stale": now - LAST_USED_RESOLUTION}
    return {
        row[0]: KeyOwner(Caller(row[1], row[2], row[3], frozenset(row[4])), row[5], row[6])
        for row in await tx.execute(_OWNERS_BY_DIGEST, values)
    }


async def set_last_used(tx: Connection, key_ids: Sequence[str], now: datetime) -> None:
    """Note that these keys are used."""
    await tx.execute(_SET_LAST_USED, {"ids": key_ids, "now": now})
