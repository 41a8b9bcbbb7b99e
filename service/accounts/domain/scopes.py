"""The scopes of API keys: what a key permits."""

from enum import StrEnum


class KeyScope(StrEnum):
    """What a key permits; every route but the open ones needs one of these."""

    SUBJECTS_READ = "subjects:read"  # read subjects and their events
    SUBJECTS_WRITE = "subjects:write"  # create and cancel subjects
    SUBSCRIBERS = "subscribers"  # manage subscribers and their deliveries
    OPERATOR = "operator"  # see every account


SCOPES = tuple(KeyScope)
DEFAULT_SCOPES = (KeyScope.SUBJECTS_READ, KeyScope.SUBJECTS_WRITE, KeyScope.SUBSCRIBERS)
