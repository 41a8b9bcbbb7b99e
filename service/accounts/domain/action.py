"""What the action log has: every change by a person or an operator's key, and every look at what is
another's."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ActionKind(StrEnum):
    """What was done."""

    KEY_CREATED = "key_created"  # the object is the key
    KEY_REVOKED = "key_revoked"
    SECRET_ADDED = "secret_added"  # noqa: S105 - of those that verify callbacks
    SECRET_REMOVED = "secret_removed"  # noqa: S105 - likewise
    SECRETS_REENCRYPTED = "secrets_reencrypted"  # all that are stored; no object
    PRUNED = "pruned"  # what is older than it is kept, at once; no object
    CALLBACK_SECRET_ROTATED = "callback_secret_rotated"  # noqa: S105 - that of an account
    CALLBACK_REVERIFIED = "callback_reverified"
    SUBJECT_CREATED = "subject_created"
    SUBJECT_CANCELED = "subject_canceled"
    SUBJECT_ERASED = "subject_erased"
    SUBSCRIBER_CREATED = "subscriber_created"
    SUBSCRIBER_CHANGED = "subscriber_changed"
    SUBSCRIBER_DELETED = "subscriber_deleted"
    SUBSCRIBER_TESTED = "subscriber_tested"  # a test event was sent to it
    SUBSCRIBER_SECRET_ROTATED = "subscriber_secret_rotated"  # noqa: S105 - the name of an action
    DELIVERY_RESENT = "delivery_resent"
    EVENTS_REPLAYED = "events_replayed"  # the object is the subscriber
    HELD = "held"  # the object is the hold
    RELEASED = "released"
    OPERATION_STARTED = "operation_started"  # a bulk operation
    OPERATION_STOPPED = "operation_stopped"
    RESUMED = "resumed"  # a restored database goes on; the object is the installation
    ADOPTED = "adopted"  # a copy has a new home; the object is the installation that it is now
    CONTENTS_SEEN = "contents_seen"  # an operator read what is another account's


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done. `before` and `after` are small, and never have contents or secrets
    in them."""

    kind: ActionKind
    object_id: str | None = None  # what it was done to; None: nothing that has an id
    account_id: str | None = None  # whose that is; None: no one account's
    before: Mapping[str, Any] | None = None  # what it changed, as it was; None: nothing to tell
    after: Mapping[str, Any] | None = None  # what it changed, as it is then; None: likewise
