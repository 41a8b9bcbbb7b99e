"""Authentication: which account a key belongs to, and when it was last used."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text

from service.accounts.domain.scopes import SEE_ALL, KeyScope, effective_scopes
from service.kit.database.connection import Connection

# last_used_at moves in steps: no write on every request.
LAST_USED_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that makes a request, and the scopes that its key has."""

    key_id: str  # of the API key or key pair
    account_id: str  # of the key; for an operator, of the account it acts in
    account_name: str  # of that account
    scopes: frozenset[str]  # of the key: see effective_scopes()
    own_account: str  # the name of the account that the key belongs to
    key_name: str | None = None  # of the key; None: it has none

    @property
    def is_operator(self) -> bool:
        """Whether the key has the scope `operator`, and so sees every account, and mends it."""
        return KeyScope.OPERATOR in self.scopes

    @property
    def sees_all(self) -> bool:
        """Whether the key sees every account, be it without contents: see `hides_contents`."""
        return not self.scopes.isdisjoint(SEE_ALL)

    @property
    def hides_contents(self) -> bool:
        """Whether contents are hidden from the key: see service/accounts/domain/contents.py."""
        return KeyScope.OPERATOR_READ in self.scopes and not self.is_operator

    @property
    def account_field(self) -> dict[str, str]:
        """The field `account` that answers to operators have; empty for other callers."""
        return {"account": self.account_name} if self.sees_all else {}


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """What is known of an API key, or of the access key of a key pair."""

    caller: Caller  # who makes a request with this key
    secret: bytes | None = field(repr=False)  # the pair's encrypted secret key; None: an API key
    last_used_is_stale: bool  # last_used_at lies further back than LAST_USED_RESOLUTION
    expires_at: datetime | None  # when the key expires; None: it does not


_OWNERS_BY_DIGEST = text("""
    SELECT k.hash, k.id, a.id, a.name, k.scopes, k.secret,
        k.last_used_at IS NULL OR k.last_used_at < :stale, k.expires_at, k.name
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
    """The owners of keys by their digests, as far as a key exists and is neither revoked nor
    expired."""
    values = {"digests": digests, "now": now, "stale": now - LAST_USED_RESOLUTION}
    return {
        row[0]: KeyOwner(
            Caller(row[1], row[2], row[3], effective_scopes(row[4]), row[3], row[8]), *row[5:8]
        )
        for row in await tx.execute(_OWNERS_BY_DIGEST, values)
    }


async def set_last_used(tx: Connection, key_ids: Sequence[str], now: datetime) -> None:
    """Write that these keys were used now."""
    await tx.execute(_SET_LAST_USED, {"ids": key_ids, "now": now})
