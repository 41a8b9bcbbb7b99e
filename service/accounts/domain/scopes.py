"""The scopes of API keys: what a key permits."""

from collections.abc import Iterable
from enum import StrEnum


class KeyScope(StrEnum):
    """What a key permits; every route but the open ones needs one of these."""

    SUBJECTS_READ = "subjects:read"  # read subjects and their events
    SUBJECTS_WRITE = "subjects:write"  # create and cancel subjects
    SUBSCRIBERS = "subscribers"  # manage subscribers and their deliveries
    METRICS = "metrics"  # read /metrics, and nothing else
    OPERATOR_READ = "operator:read"  # see every account but contents and secrets; change nothing
    OPERATOR = "operator"  # see every account, and mend what is stuck


SCOPES = tuple(KeyScope)
DEFAULT_SCOPES = (KeyScope.SUBJECTS_READ, KeyScope.SUBJECTS_WRITE, KeyScope.SUBSCRIBERS)
SEE_ALL = frozenset({KeyScope.OPERATOR, KeyScope.OPERATOR_READ})  # either shows every account


def effective_scopes(given: Iterable[str]) -> frozenset[str]:
    """What a key with these scopes permits. `operator:read` changes nothing and sees no contents,
    so that beside it other scopes permit nothing but /metrics, unless `operator` is among them."""
    scopes = frozenset(given)
    if KeyScope.OPERATOR_READ in scopes and KeyScope.OPERATOR not in scopes:
        return scopes & {KeyScope.OPERATOR_READ, KeyScope.METRICS}
    return scopes


def permits(scopes: frozenset[str], needed: KeyScope, *, reads: bool, allow_operator: bool) -> bool:
    """Whether a key with these effective scopes may make a call that needs a scope, or one of an
    operator's if `allow_operator`. `reads`: the call changes nothing."""
    if needed in scopes:
        return True
    sees = reads and needed is not KeyScope.METRICS and KeyScope.OPERATOR_READ in scopes
    return allow_operator and (sees or KeyScope.OPERATOR in scopes)
