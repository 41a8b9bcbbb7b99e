"""A request to create a subject: as a caller makes it, and while it is being decided on."""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import cast

import orjson
from msgspec import Struct
from msgspec.structs import replace

from service.accounts.domain.action import Action, ActionKind
from service.accounts.domain.actor import Actor
from service.kit.errors import CallsheetError, Conflict, FieldError
from service.kit.text import escape_unprintable
from service.media.domain.references import has_media_urls
from service.subjects.domain.lifecycle import State
from service.subjects.domain.subject import Subject

KEY_TTL = timedelta(hours=24)  # how long an idempotency key is kept
LARGE_IMAGES = 256_000  # bytes of all inline images of a request, above which they are large; ours


class CreateRequest(Struct, frozen=True):
    """A valid request of a caller's."""

    account_id: str  # whose subject it is to be
    # The JSON body: texts in NFC, without empty and ignored fields, and with
    # `{"media": <SHA-256, hex>}` in place of an inline image.
    document: dict[str, object]
    inline_images: dict[str, bytes]  # the bytes of each, by that hash
    warnings: tuple[FieldError, ...]  # what breaks no rule, and may be a mistake
    idempotency_key: str | None = None  # None: the caller gave none
    cancel_after: float | None = None  # seconds until its deadline; None: as the settings say
    # Whether it is a conflict, and not answered with the earlier subject, if the account has used
    # its external_task_id for the same request.
    must_be_new: bool = False
    actor: Actor | None = None  # of an operator's key, for the action log; None: of another's
    traceparent: str | None = None  # of the span that accepts it (W3C); None: it is not traced

    def __repr__(self) -> str:
        """Without the bytes of its images, which would fill a log."""
        return f"{type(self).__name__}({self.account_id!r}, {self.document!r})"

    @property
    def external_task_id(self) -> str | None:
        """The caller's own id of the subject; None if it gave none."""
        return cast("str | None", self.document.get("external_task_id"))

    @property
    def callback_url(self) -> str | None:
        """Where this subject's events go beside the subscribers; None: nowhere else."""
        return cast("str | None", self.document.get("callback_url"))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the document: the same for requests that ask for the same."""
        canonical = orjson.dumps(self.document, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()

    @property
    def inline_bytes(self) -> int:
        """How many bytes its inline images have, decoded."""
        return sum(map(len, self.inline_images.values()))

    @property
    def has_large_images(self) -> bool:
        """Whether writing its inline images takes so long that they are not written with others."""
        return self.inline_bytes > LARGE_IMAGES


class Accepted(Struct, frozen=True):
    """The result of a request that was accepted, now or before."""

    subject: Subject  # the one that it made, or had made before
    created: bool  # False where the same request had been accepted before


CreateResult = Accepted | CallsheetError


@dataclass(slots=True, eq=False)
class PendingCreate:
    """A request while it is being decided on."""

    request: CreateRequest  # as it was validated
    subject: Subject  # the one that it makes if it is accepted, and was not before
    has_media_urls: bool  # whether media must be fetched and checked before submission
    result: CreateResult | None = None  # None until it is decided
    key_is_bound: bool = False  # whether its idempotency key was found bound

    @property
    def has_names(self) -> bool:
        """Whether it names anything that may have been made earlier."""
        request = self.request
        return bool(request.idempotency_key or request.external_task_id or request.callback_url)

    @property
    def lacks_callback_subscriber(self) -> bool:
        """Whether its callback_url's origin has, or had when it was sought, no subscriber yet."""
        return bool(self.request.callback_url) and self.subject.callback_subscriber_id is None

    @property
    def action(self) -> Action:
        """What the action log has of it, once it is accepted."""
        return Action(ActionKind.SUBJECT_CREATED, self.subject.id, self.request.account_id)

    @property
    def account_and_key(self) -> tuple[str, str] | None:
        """The ids of account and key; None if the request has no idempotency key."""
        key = self.request.idempotency_key
        return None if key is None else (self.request.account_id, key)

    @property
    def account_and_external_id(self) -> tuple[str, str] | None:
        """The account's id and external_task_id; None if the request has no external_task_id."""
        external_id = self.request.external_task_id
        return None if external_id is None else (self.request.account_id, external_id)

    def assign_callback_subscriber(self, subscriber_id: str) -> None:
        """Let the subject that it makes have the hidden subscriber of its callback_url's origin."""
        self.subject = replace(self.subject, callback_subscriber_id=subscriber_id)

    def reset(self) -> None:
        """Forget what was decided, so that it is decided again: also the hidden subscriber, which
        may have been made in the transaction that failed."""
        self.result, self.key_is_bound = None, False
        self.subject = replace(self.subject, callback_subscriber_id=None)

    def answer_by_key(self, earlier: Subject, fingerprint: str) -> None:
        """Decide by the subject for which a request of this fingerprint bound the key."""
        self.key_is_bound = True
        if fingerprint == self.request.fingerprint:
            self.result = Accepted(earlier, created=False)
        else:
            message = "This Idempotency-Key was used before, with another request."
            self.result = Conflict(message, "idempotency_key_reused")

    def answer_by_external_id(self, earlier: Subject) -> None:
        """Decide by the subject that the account has under the external_task_id."""
        if earlier.fingerprint == self.request.fingerprint and not self.request.must_be_new:
            self.result = Accepted(earlier, created=False)
            return
        message = "This external_task_id was used before, with another request."
        if self.request.must_be_new:
            external_id = escape_unprintable(str(earlier.external_task_id).encode())
            message = f"external_task_id {external_id} already exists"
        self.result = Conflict(message, "external_task_id_taken")

    def answer_like(self, leader: "PendingCreate") -> None:
        """Decide by a request of the same idempotency key that was decided first. If that one was
        refused, this one stays undecided."""
        if isinstance(leader.result, Accepted):
            self.answer_by_key(leader.result.subject, leader.request.fingerprint)

    @property
    def bound_subject(self) -> Subject | None:
        """The subject that its key stands for from now on; None if the request was refused."""
        if self.result is None:
            return self.subject
        return self.result.subject if isinstance(self.result, Accepted) else None


def pending_create(
    request: CreateRequest, id_: str, now: datetime, max_seconds: float
) -> PendingCreate:
    """A request to decide on, with the queued subject of this id that it would make. Its deadline
    is `max_seconds` seconds from now, or sooner if the request says so."""
    subject = Subject(
        id=id_,
        account_id=request.account_id,
        external_task_id=request.external_task_id,
        fingerprint=request.fingerprint,
        document=request.document,
        state=State.QUEUED,
        version=1,
        attempts=0,
        available_at=now,
        provider_task_id=None,
        result=None,
        error=None,
        deadline=now + timedelta(seconds=min(max_seconds, request.cancel_after or max_seconds)),
        created_at=now,
        updated_at=now,
        finished_at=None,
        erased_at=None,
        warnings=[asdict(warning) for warning in request.warnings] or None,
    )
    return PendingCreate(request, subject, has_media_urls=has_media_urls(request.document))
