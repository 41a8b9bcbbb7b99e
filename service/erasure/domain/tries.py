"""What becomes of a deletion at the provider by a try: done, failed, or tried again, and when."""

from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from service.erasure.domain.erasure import Erasure, ErasureState, NotDone
from service.kit.backoff import SPREAD, jittered

RETRY_BASE: Final = 5.0  # seconds; the wait after the first try, doubled after each
RETRY_CAP: Final = 3600.0  # seconds; the longest wait that the provider did not ask for
MAX_ATTEMPTS: Final = 80  # which take about three days, at these waits
PROBE_INTERVAL: Final = timedelta(minutes=1)  # while it refuses our account or key: rule P66


class NotYet(Struct, frozen=True):
    """Why a try did not do, and the next one may."""

    message: str  # the provider's words, or why there are none
    provider_code: int | None = None  # None: the provider gave none
    retry_after: float = 0.0  # seconds to wait at least


def done(erasure: Erasure, now: datetime) -> Erasure:
    """The deletion once the provider has nothing left to delete."""
    return _ended(erasure, ErasureState.DONE, None, now)


def refused(erasure: Erasure, code: int, message: str, now: datetime) -> Erasure:
    """The deletion once the provider has refused it with a code that it would give again."""
    return _ended(erasure, ErasureState.FAILED, _error(NotDone.REFUSED, message, code), now)


def known(erasure: Erasure, element_id: str, now: datetime) -> Erasure:
    """The deletion once it is known what there is to delete, which is tried at once."""
    return replace(
        erasure, element_id=element_id, next_try_at=now, lease_token=None, stopped=False, error=None
    )


def stopped(erasure: Erasure, code: int, message: str, now: datetime) -> Erasure:
    """The deletion after a try that the provider refused for our account or key: it waits for a
    person, so that try does not count."""
    return replace(
        erasure,
        next_try_at=now + PROBE_INTERVAL,
        lease_token=None,
        stopped=True,
        error=_error(NotDone.STOPPED, message, code),
    )


def not_resumed(erasure: Erasure, now: datetime) -> Erasure:
    """The deletion after a probe that the provider has not answered: nobody knows yet whether it
    takes our account and key again."""
    return replace(erasure, next_try_at=now + PROBE_INTERVAL, lease_token=None)


def deferred(erasure: Erasure, reason: NotYet, now: datetime, random: float) -> Erasure:
    """The deletion after a try that did not do: tried again, or given up if it was the last one.
    `random` is a number in [0, 1) that spreads the waits."""
    attempts = erasure.attempts + 1
    if attempts >= MAX_ATTEMPTS:
        message = f"Given up after {attempts} tries; the last: {reason.message}"
        error = _error(NotDone.GIVEN_UP, message, reason.provider_code)
        return _ended(erasure, ErasureState.FAILED, error, now)
    wait = jittered(min(RETRY_CAP, RETRY_BASE * 2.0**erasure.attempts), SPREAD, random)
    return replace(
        erasure,
        attempts=attempts,
        next_try_at=now + timedelta(seconds=max(wait, reason.retry_after)),
        lease_token=None,
        stopped=False,
        error=_error(NotDone.UNAVAILABLE, reason.message, reason.provider_code),
    )


def _ended(
    erasure: Erasure, state: ErasureState, error: dict[str, Any] | None, now: datetime
) -> Erasure:
    return replace(
        erasure,
        state=state,
        attempts=erasure.attempts + 1,
        next_try_at=None,
        lease_token=None,
        stopped=False,
        error=error,
        finished_at=now,
    )


def _error(code: NotDone, message: str, provider_code: int | None) -> dict[str, Any]:
    """Why a try did not do, as callers see it."""
    named = {} if provider_code is None else {"provider_code": provider_code}
    return {"code": code.value, "message": message, **named}
