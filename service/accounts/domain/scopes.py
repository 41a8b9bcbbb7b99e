"""The scopes of API keys: what a key permits."""

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
