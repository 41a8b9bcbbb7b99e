"""From bytes to a callback: believed as far as it is vouched for, or refused with the reason."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.callbacks.domain import verification
from service.callbacks.domain.callback import EMPTY_REPORT, Callback, RawCallback, Verification
from service.callbacks.domain.signature_schemes import PLAIN_HEADERS, Scheme
from service.callbacks.domain.url_tokens import subject_id_of
from service.kit.errors import Malformed, SignatureError
from service.kit.text import clean_text
from service.provider.domain.task_reports import TaskReport, read_callback
from service.resources import Resources

MAX_STORED_HEADER = 500  # characters of one kept header, and of an address that is not ours
MAX_UNADDRESSED_BODY = 64_000  # bytes kept of what is refused, and came to no address of ours
MAX_STATUS = 50  # characters of the provider's word for how a task is
REJECTED_PREFIX, SHA256_PREFIX = (
    "rejected:",
    "sha256:",
)  # persisted labels: how deduplication keys begin


def verify(resources: Resources, raw: RawCallback) -> Callback:
    """Check and read one callback; nothing is written, and nothing is raised: a callback that
    cannot be believed or read is taken in with its refusal."""
    subject_id = _subject_id(resources, raw.token) if raw.token else None
    try:
        return _verified(resources, raw, subject_id)
    except (SignatureError, Malformed) as error:
        # Without the frames that it and its cause came through: they hold the body.
        error.__traceback__ = error.__context__ = None
        return _refused(resources, raw, subject_id, error)


def _subject_id(resources: Resources, token: str) -> str | None:
    """The subject that an address of ours names, whichever of our keys made it."""
    named = (subject_id_of(key, token) for key in resources.callback_keys)
    return next((subject_id for subject_id in named if subject_id is not None), None)


def _verified(resources: Resources, raw: RawCallback, subject_id: str | None) -> Callback:
    secrets = resources.webhook_secrets
    if raw.token and subject_id is None:
        raise SignatureError("this address is not one of ours")
    scheme, keys = secrets.scheme_and_keys(raw.source)
    early = read_callback(raw.body) if scheme.signs_task_id else None
    message_id = _message_id(secrets, scheme, keys, raw, early)
    report = early or read_callback(raw.body)
    signed = scheme.covers_body
    return Callback(
        raw=raw,
        id=resources.new_id("cbk"),
        dedup_key=(signed and message_id) or _digest(raw.token or "", raw.body),
        verification=Verification.SIGNED if signed else _unsigned_verification(subject_id),
        subject_id=subject_id,
        body=raw.body,
        headers=_plain_headers(raw.headers),
        report=report,
        secrets_version=secrets.version,
        task_id=report.provider_task_id,
        status=report.status_word[:MAX_STATUS],
        provider_updated_at=report.updated_at,
    )


def _message_id(
    secrets: WebhookSecretCache,
    scheme: Scheme,
    keys: tuple[bytes, ...],
    raw: RawCallback,
    early: TaskReport | None,
) -> str | None:
    """The message id, as verification.verify gives it; `early` is the report, if it is read before
    the signature is checked. A kept secret may be hashed under any SECRET_KEY that is known."""
    task_id = early.provider_task_id if early else None
    check = partial(
        verification.verify_signature,
        scheme,
        keys,
        raw.headers,
        raw.body,
        raw.received_at,
        task_id=task_id,
    )
    if not raw.secrets_hashed:
        return check()
    *earlier, last = secrets.hash_keys
    for key in earlier:
        with suppress(SignatureError):
            return check(hash_key=key)
    return check(hash_key=last)


def _unsigned_verification(subject_id: str | None) -> Verification:
    """What vouches for a callback without a signature, where its address names this subject."""
    return Verification.ADDRESS if subject_id else Verification.NONE


def _refused(
    resources: Resources,
    raw: RawCallback,
    subject_id: str | None,
    error: SignatureError | Malformed,
) -> Callback:
    """As it is kept: with what a later check needs, and no secret. An address of ours is a secret
    too: only what it names is kept of it. Of one that was kept before, this is not kept again."""
    secrets, token, body = resources.webhook_secrets, raw.token, raw.body
    if subject_id is None and len(body) > MAX_UNADDRESSED_BODY:  # or strangers could fill the disk
        body = body[:MAX_UNADDRESSED_BODY]
        error = type(error)(f"{error}; only its first {MAX_UNADDRESSED_BODY} bytes are kept")
    headers = {**_plain_headers(raw.headers), **secrets.retained_headers(raw.source, raw.headers)}
    said = repr((raw.source, token, sorted(headers.items())))
    return Callback(
        raw=raw,
        id=resources.new_id("cbk"),
        dedup_key=REJECTED_PREFIX + _digest(said, raw.body),
        verification=_unsigned_verification(subject_id),
        subject_id=subject_id,
        body=body,
        headers=headers,
        report=EMPTY_REPORT,
        secrets_version=secrets.version,
        token=clean_text(token)[:MAX_STORED_HEADER] if token and not subject_id else None,
        refusal=error,
    )


def _digest(token: str, body: bytes) -> str:
    return SHA256_PREFIX + hashlib.sha256(token.encode(errors="replace") + b"\n" + body).hexdigest()


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: clean_text(headers[name])[:MAX_STORED_HEADER]
        for name in PLAIN_HEADERS
        if name in headers
    }
