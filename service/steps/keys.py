"""Callers' keys: made, and known again. A key is shown once; only its hash is kept."""

import base64
import hashlib
from collections.abc import Sequence

from service.core.errors import Finding, Forbidden, Invalid, Unauthorized
from service.steps.resources import Resources
from service.store import accounts
from service.store.accounts import Caller

KEY_BYTES = 32
PREFIX = "csk_"
SHOWN = 12  # characters that a key is known by
DEFAULT_SCOPES = ("subjects:read", "subjects:write", "subscribers")
SCOPES = (*DEFAULT_SCOPES, "operator")
MAX_NAME = 100


async def create(resources: Resources, account: str, scopes: Sequence[str]) -> str:
    """A new key of this account, which is made if there is none; Invalid for unknown scopes."""
    findings = [
        Finding("/scopes", "unknown_scope", f"{scope!r} is not a scope: {', '.join(SCOPES)}")
        for scope in scopes
        if scope not in SCOPES
    ]
    if not 0 < len(account) <= MAX_NAME or not account.isprintable():
        findings.append(Finding("/account", "account", f"1 to {MAX_NAME} printable characters"))
    if findings or not scopes:
        raise Invalid(findings or [Finding("/scopes", "scopes", "give at least one scope")])
    key = PREFIX + base64.urlsafe_b64encode(resources.chance(KEY_BYTES)).decode().rstrip("=")
    now = resources.clock()
    async with resources.database.transaction() as tx:
        account_id = await accounts.ensure(
            tx, account_id=resources.new_id("acc"), name=account, now=now
        )
        await accounts.add_key(
            tx,
            key_id=resources.new_id("key"),
            account_id=account_id,
            digest=_digest(key),
            prefix=key[:SHOWN],
            scopes=list(dict.fromkeys(scopes)),
            now=now,
        )
    return key


async def authorize(resources: Resources, key: str, scope: str) -> Caller:
    """Whose key this is; Unauthorized if it is no good one, Forbidden if it lacks the scope."""
    async with resources.database.glance() as tx:
        caller = await accounts.by_key(tx, _digest(key), resources.clock())
    if caller is None:
        raise Unauthorized
    if scope not in caller.scopes:
        raise Forbidden(f"this key lacks the scope {scope}")
    return caller


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
