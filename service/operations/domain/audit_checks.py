"""What the audit checks: the name of each check, and the rule that it holds the database to.

A name is a label of the metric `audit_violations` and part of what `callsheet audit --json` prints,
so it is never changed. The queries are in store/audit_slices.py and audit_waiting.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self


class AuditCheck(StrEnum):
    """The name of a check of the database."""

    EVENT_FOR_EACH_VERSION = "event_for_each_version"
    EVENT_SUBJECT = "event_subject"
    STATES_RISE = "states_rise"
    STATE_OF_LAST_EVENT = "state_of_last_event"
    CALLBACK_APPLIED = "callback_applied"
    FEED_ORDER = "feed_order"
    FEED_AHEAD = "feed_ahead"
    DELIVERY_TO_SUBSCRIBER = "delivery_to_subscriber"
    DELIVERY_TO_CALLBACK_URL = "delivery_to_callback_url"
    DELIVERY_ORDER = "delivery_order"
    DELIVERED_ATTEMPT = "delivered_attempt"
    DEAD_ATTEMPT = "dead_attempt"
    DELIVERY_DUE = "delivery_due"
    DELIVERY_TAKEN = "delivery_taken"
    SUBJECT_DUE = "subject_due"
    PAST_DEADLINE = "past_deadline"
    SUBMISSION_LEASE = "submission_lease"
    MEDIA_LEASE = "media_lease"
    DELIVERY_LEASE = "delivery_lease"
    ERASURE_LEASE = "erasure_lease"
    PROVIDER_SLOTS = "provider_slots"
    SUBSCRIBER_KEY = "subscriber_key"


class ProviderCheck(StrEnum):
    """The name of a check against the provider's own list and look-ups."""

    LOST_HERE = "lost_here"
    UNKNOWN_THERE = "unknown_there"
    ORPHAN_THERE = "orphan_there"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a check holds the database to."""

    promise: int | None  # its number in service/README.md; None: it stands beside the promises
    text: str  # what should be so, as a sentence


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """Something that is not as a rule says."""

    check: AuditCheck | ProviderCheck
    about: str  # the id of the subject, event, delivery or subscriber; with what else tells it

    @property
    def promise(self) -> int | None:
        """The number of the promise that is broken; None if the rule stands beside them."""
        return RULES[self.check].promise

    @property
    def rule(self) -> str:
        """What should be so, as a sentence."""
        return RULES[self.check].text

    def document(self) -> dict[str, object]:
        """The JSON of it."""
        return {
            "check": self.check,
            "promise": self.promise,
            "rule": self.rule,
            "about": self.about,
        }

    def __str__(self) -> str:
        """A line for people."""
        broken = "" if self.promise is None else f" (promise {self.promise})"
        return f"{self.check}{broken}: {self.rule}: {self.about}"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit has found."""

    violations: Sequence[Violation]  # at most so many of each check
    checked: Mapping[str, int]  # rows that were looked at, by what they are
    seconds: float  # that it took

    def document(self) -> dict[str, object]:
        """The JSON of it."""
        return {
            "violations": [violation.document() for violation in self.violations],
            "checked": dict(self.checked),
            "seconds": self.seconds,
        }

    def __add__(self, other: Self) -> Self:
        """What this report and another found, in one report."""
        return replace(
            self,
            violations=[*self.violations, *other.violations],
            checked={**self.checked, **other.checked},
            seconds=round(self.seconds + other.seconds, 3),
        )

    def lines(self) -> list[str]:
        """The report for people: a line of each violation, and one of how many there are."""
        return [*map(str, self.violations), f"{len(self.violations)} violations"]


RULES: Final[Mapping[AuditCheck | ProviderCheck, Rule]] = MappingProxyType(
    {
        AuditCheck.EVENT_FOR_EACH_VERSION: Rule(
            1, "a subject has one event for each version, from 1 without a gap"
        ),
        AuditCheck.EVENT_SUBJECT: Rule(1, "the subject of each event is there"),
        AuditCheck.STATES_RISE: Rule(4, "each event ranks above the one before it"),
        AuditCheck.STATE_OF_LAST_EVENT: Rule(
            4, "a subject's state is what its last event says, or one of the three before any"
        ),
        AuditCheck.CALLBACK_APPLIED: Rule(
            4, "a subject has come as far as each callback that was applied to it says"
        ),
        AuditCheck.FEED_ORDER: Rule(6, "the feed has each event behind the one before it"),
        AuditCheck.FEED_AHEAD: Rule(
            6, "each event is of a transaction of this Postgres, so that the feed can show it"
        ),
        AuditCheck.DELIVERY_TO_SUBSCRIBER: Rule(
            6, "each event has a delivery to each subscriber that wanted it"
        ),
        AuditCheck.DELIVERY_TO_CALLBACK_URL: Rule(
            6, "each event of a subject but its first has a delivery to the subject's callback_url"
        ),
        AuditCheck.DELIVERY_ORDER: Rule(
            6, "no event of a subject is delivered before an earlier one has ended"
        ),
        AuditCheck.DELIVERED_ATTEMPT: Rule(
            6, "what is delivered has an attempt that a subscriber answered with success"
        ),
        AuditCheck.DEAD_ATTEMPT: Rule(6, "what is dead has an attempt with its reason"),
        AuditCheck.DELIVERY_DUE: Rule(
            6, "a delivery that waits is due some time, or waits behind an earlier one"
        ),
        AuditCheck.DELIVERY_TAKEN: Rule(
            6, "a delivery that waits has its event and its subscriber, or no worker takes it"
        ),
        AuditCheck.SUBJECT_DUE: Rule(
            5, "a subject that is not finished is due some time before its deadline"
        ),
        AuditCheck.PAST_DEADLINE: Rule(5, "a subject that is past its deadline has failed"),
        AuditCheck.SUBMISSION_LEASE: Rule(
            8, "a submission whose lease has ended is taken up again by a worker"
        ),
        AuditCheck.MEDIA_LEASE: Rule(
            8, "a check of media whose lease has ended is taken up again by a worker"
        ),
        AuditCheck.DELIVERY_LEASE: Rule(
            8, "a delivery whose lease has ended is taken up again by a worker"
        ),
        AuditCheck.ERASURE_LEASE: Rule(
            8, "a deletion at the provider whose lease has ended is taken up again by a worker"
        ),
        AuditCheck.PROVIDER_SLOTS: Rule(
            None,
            "no more subjects were sent to the provider at once than CALLSHEET_PROVIDER_PARALLEL",
        ),
        AuditCheck.SUBSCRIBER_KEY: Rule(
            9,
            "the keys that sign what a subscriber is sent are there, and can be decrypted",
        ),
        ProviderCheck.LOST_HERE: Rule(1, "what became of a task at the provider is known here too"),
        ProviderCheck.UNKNOWN_THERE: Rule(
            None, "a subject that the provider has taken is known to the provider"
        ),
        ProviderCheck.ORPHAN_THERE: Rule(
            1, "a task at the provider that carries an id of our kind has its subject here"
        ),
    }
)
