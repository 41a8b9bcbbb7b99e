"""A provider callback: raw, as it was received, then verified or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from service.kit.errors import Malformed, SignatureError
from service.provider.domain.task_reports import TaskReport


class Verification(StrEnum):
    """What proves where a callback comes from; the values are on the wire and in the database."""

    SIGNED = "signed"  # a signature over its body
    ADDRESS = "address"  # an address that only the provider knows
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class RawCallback:
    """A POST to /callbacks, as it was received."""

    source: str  # the source its path names; the provider, if none is named
    token: str | None  # the last segment of its path; None: the path names no subject
    headers: Mapping[str, str] = field(repr=False)  # by lower-case names
    body: bytes  # as it was sent, at most MAX_BODY bytes
    received_at: datetime  # by our clock
    secrets_hashed: bool = False  # whether `headers` have keyed hashes of shared secrets


class Callback(Struct, frozen=True):
    """A callback that was verified, or refused, with what it reports."""

    raw: RawCallback  # as it was received
    id: str  # our id of it, "cbk_…"
    dedup_key: str  # duplicates have the same, within a source
    verification: Verification  # what proves where it comes from
    subject_id: str | None  # the subject its address names; None: none, or the address is not ours
    body: bytes  # to be stored: a part of a long one that is refused and names no subject
    headers: Mapping[str, str]  # to be stored: no secret is among them
    report: TaskReport  # what the body says; EMPTY_REPORT if it was refused
    secrets_version: int | None  # of the webhook secrets it was verified with; None: not checked
    task_id: str | None = None  # the provider's task; None if it was refused
    status: str | None = None  # the provider's word for the task's status; likewise
    provider_updated_at: datetime | None = None  # the provider's time of that status
    token: str | None = None  # to be stored: that of an address that is not ours
    refusal: SignatureError | Malformed | None = None  # why it is refused; None: it is verified
    times_received: int = 1  # how many duplicates it stands for, itself included

    @property
    def untrusted(self) -> bool:
        """Whether anybody could have sent it, so that what is stored of the like is bounded."""
        return self.refusal is not None or self.verification is Verification.NONE


EMPTY_REPORT = TaskReport("", None, None, "", "", None, None, None, None)  # of a refused callback
