"""Who calls: keys that arrive together are looked up together, and their accounts' requests are
counted where that is asked for."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from service.core.errors import TOO_FAST, CallsheetError, Forbidden, TooMany, Unauthorized
from service.steps.resources import Resources
from service.store import callers
from service.store.callers import Caller
from service.store.database import Direct


def digest(key: str) -> bytes:
    """What is kept of a key: its SHA-256."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def known(resources: Resources, digests: Sequence[bytes]) -> list[Caller | CallsheetError]:
    """Whose keys these are, one request each: Unauthorized where it is no good one, TooMany where
    the account makes more requests than it may."""
    now = resources.clock()
    rate = resources.settings.requests_per_second
    async with resources.database.careless() as tx:
        found = await callers.by_keys(tx, list(dict.fromkeys(digests)), now)
        if rate is None:
            return [found.get(one) or Unauthorized() for one in digests]
        return await _counted(tx, [found.get(one) for one in digests], rate)


async def _counted(
    tx: Direct, asking: Sequence[Caller | None], rate: float
) -> list[Caller | CallsheetError]:
    asked = Counter(caller.account_id for caller in asking if caller is not None)
    granted = await callers.spend(tx, asked, rate) if asked else {}
    left = {account_id: number for account_id, (number, _) in granted.items()}
    answers: list[Caller | CallsheetError] = []
    for caller in asking:
        if caller is None:
            answers.append(Unauthorized())
        elif left[caller.account_id] > 0:
            left[caller.account_id] -= 1
            answers.append(caller)
        else:
            _, used = granted[caller.account_id]
            wait = used + 1 / rate - callers.burst(rate)
            message = f"at most {rate:g} requests a second of one account"
            answers.append(TooMany(message, TOO_FAST, wait))
    return answers


def admitted(caller: Caller | CallsheetError, scope: str) -> Caller:
    """The caller, if it is one with this scope; else the error, or Forbidden, is raised."""
    if isinstance(caller, CallsheetError):
        raise caller
    if scope not in caller.scopes:
        raise Forbidden(f"this key lacks the scope {scope}")
    return caller
