"""A callback of the provider's on its way: as it came, then verified or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.kit.errors import Malformed, SignatureError
from service.provider.domain.task_reports import Report


class Verification(StrEnum):
    """What vouches for a callback."""

    SIGNED = "signed"  # a signature over its bytes
    ADDRESS = "address"  # an address that only the provider knows
    NONE = "none"  # nothing


@dataclass(frozen=True, slots=True)
class RawCallback:
    """A request as it came."""

    source: str  # the source its path names; the provider, if none is named
    token: str | None  # the last segment of its path; None: the path names no subject
    headers: Mapping[str, str] = field(repr=False)  # by lower-case names
    body: bytes
    received_at: datetime
    hashed: bool = False  # keyed hashes stand in `headers` for shared secrets, as when kept


@dataclass(frozen=True, slots=True)
class Callback:
    """A message that was verified, or refused, with what it reports."""

    raw: RawCallback
    id: str
    dedup_key: str  # copies of a message have the same, within a source
    verification: Verification
    subject_id: str | None  # the subject its address names; None: none, or the address is not ours
    body: bytes  # to be kept: of a long one of strangers, the first part
    headers: Mapping[str, str]  # to be kept: no secret is among them
    report: Report  # EMPTY, if it was refused
    secrets_version: int | None  # of the secrets it was verified with; None: verified before
    task_id: str | None = None  # what it says: the provider's task, …
    status: str | None = None  # … the provider's word for how that is, …
    provider_updated_at: datetime | None = None  # … and the provider's time of it
    token: str | None = None  # to be kept: of its address, where that names no subject
    refusal: SignatureError | Malformed | None = None  # why it is not believed
    times_received: int = 1  # copies that this one stands for

    @property
    def doubtful(self) -> bool:
        """Whether anybody could make us keep the like of it."""
        return self.refusal is not None or self.verification is Verification.NONE


EMPTY = Report("", None, None, "", "", None, None, None, None)  # a report of nothing
