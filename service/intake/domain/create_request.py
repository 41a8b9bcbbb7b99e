"""A request to create a subject, in the two shapes that it has: what a caller asks for, and what is
being decided about it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import cast

from service.kit.errors import CallsheetError, Conflict, FieldError
from service.kit.text import escape_unprintable
from service.media.domain.references import has_media_urls
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject

LARGE_MEDIA_BYTES = 256_000  # bytes of a request's inline images; ours
TAKEN = "external_task_id_taken"
USED = "was used before, with another request"


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """What a caller asks for, when it keeps every rule."""

    account_id: str  # whose subject it is to be
    # Texts are in NFC, empty and ignored fields are left out, and an inline image stands as
    # `{"media": <SHA-256, hex>}`.
    document: dict[str, object]
    inline: dict[str, bytes] = field(repr=False)  # the bytes of each inline image, by that hash
    warnings: tuple[FieldError, ...]  # what breaks no rule, and may not be meant
    idempotency_key: str | None = None  # the caller's own; None if it gave none
    cancel_after: float | None = None  # seconds that it may take; None: as long as any may
    # Whether an external_task_id that the account has used is refused, also for the same request.
    must_be_new: bool = False

    @property
    def external_task_id(self) -> str | None:
        return cast("str | None", self.document.get("external_task_id"))

    @property
    def callback_url(self) -> str | None:
        return cast("str | None", self.document.get("callback_url"))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what is asked for; key order and Base64's spelling do not matter."""
        canonical = json.dumps(self.document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def media_bytes(self) -> int:
        """Bytes of its inline images."""
        return sum(map(len, self.inline.values()))

    @property
    def has_large_media(self) -> bool:
        """Whether writing its inline images takes so long that others would wait for them."""
        return self.media_bytes > LARGE_MEDIA_BYTES


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was accepted, now or before."""

    subject: Subject
    created: bool  # False where the same request had been accepted before


CreateResult = Accepted | CallsheetError


@dataclass(slots=True, eq=False)
class PendingCreate:
    """A request while it is decided."""

    request: CreateRequest
    subject: Subject  # the one that it would make
    has_media_urls: bool  # whether media must be fetched and checked before it is submitted
    result: CreateResult | None = None  # None as long as it is not decided

    @property
    def key(self) -> tuple[str, str] | None:
        """Its account, and its idempotency key; None if it has none."""
        key = self.request.idempotency_key
        return None if key is None else (self.request.account_id, key)

    @property
    def external_id(self) -> tuple[str, str] | None:
        """Its account, and its external_task_id; None if it has none."""
        external_id = self.request.external_task_id
        return None if external_id is None else (self.request.account_id, external_id)

    def answer_by_key(self, earlier: Subject, fingerprint: str) -> None:
        """The idempotency key is bound to this subject, by a request of this fingerprint."""
        if fingerprint == self.request.fingerprint:
            self.result = Accepted(earlier, created=False)
        else:
            self.result = Conflict(f"this Idempotency-Key {USED}", "idempotency_key_reused")

    def answer_by_external_id(self, earlier: Subject) -> None:
        """The account has this subject under the external_task_id."""
        if self.request.must_be_new:
            shown = escape_unprintable(str(earlier.external_task_id).encode())
            self.result = Conflict(f"external_task_id {shown} already exists", TAKEN)
        elif earlier.fingerprint == self.request.fingerprint:
            self.result = Accepted(earlier, created=False)
        else:
            self.result = Conflict(f"this external_task_id {USED}", TAKEN)

    def answer_like(self, leader: "PendingCreate") -> None:
        """The leader has the same key, and was decided first. If it was refused, this request stays
        undecided."""
        if isinstance(leader.result, Accepted):
            self.answer_by_key(leader.result.subject, leader.request.fingerprint)

    @property
    def bound_subject(self) -> Subject | None:
        """The subject that it makes, or made before; None if it was refused."""
        if self.result is None:
            return self.subject
        return self.result.subject if isinstance(self.result, Accepted) else None


def pending_create(
    request: CreateRequest, id_: str, now: datetime, longest: float
) -> PendingCreate:
    """The request with the queued subject of this id that it would make, which may take `longest`
    seconds, or fewer if the request says so."""
    subject = Subject(
        id=id_,
        account_id=request.account_id,
        external_task_id=request.external_task_id,
        fingerprint=request.fingerprint,
        document=request.document,
        state=State.QUEUED,
        version=1,
        provider_task_id=None,
        provider_updated_at=None,
        result=None,
        error=None,
        lease_token=None,
        lease_until=None,
        attempts=0,
        claimed_at=None,
        available_at=now,
        poll_count=0,
        next_poll_at=None,
        deadline=now + timedelta(seconds=min(longest, request.cancel_after or longest)),
        callback_subscriber_id=None,
        created_at=now,
        updated_at=now,
        finished_at=None,
        warnings=[asdict(warning) for warning in request.warnings] or None,
    )
    return PendingCreate(request, subject, has_media_urls=has_media_urls(request.document))
