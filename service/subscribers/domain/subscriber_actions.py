"""What the action log says of changes to subscribers: by value only what are neither contents nor
secrets."""

from collections.abc import Mapping
from typing import Any, Final

from service.accounts.domain.action import Action, ActionKind

# Fields of a subscriber whose values the action log has.
SHOWN: Final = (
    *("state", "event_types", "reference_types", "tags", "ordering", "format", "signatures"),
    *("timeout", "schedule", "concurrency", "max_rate"),
)
# Fields of which it has no more than that they were changed.
NAMED: Final = ("url", "channel", "description", "headers", "credentials")


def subscriber_changed(
    account_id: str, subscriber_id: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Action:
    """The change of a subscriber from some values of fields to others; if there is none, a look at
    it, since the answer shows it."""
    changed = [name for name in SHOWN if before[name] != after[name]]
    named = [name for name in NAMED if before[name] != after[name]]
    if not changed and not named:
        return Action(ActionKind.CONTENTS_SEEN, subscriber_id, account_id)
    return Action(
        ActionKind.SUBSCRIBER_CHANGED,
        subscriber_id,
        account_id,
        {name: before[name] for name in changed},
        {name: after[name] for name in changed} | ({"changed": named} if named else {}),
    )
