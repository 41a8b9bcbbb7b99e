"""Verify a callback: its address, its signature or shared secret, and its body; or refuse it."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.callbacks.domain.callback import EMPTY_REPORT, Callback, RawCallback, Verification
from service.callbacks.domain.signature_schemes import PLAIN_HEADERS, Scheme
from service.callbacks.domain.url_tokens import subject_id_of
from service.callbacks.domain.verification import verify_signature
from service.kit.errors import Malformed, SignatureError
from service.kit.text import clean_text
from service.provider.domain.task_reports import read_callback
from service.resources import Resources

MAX_STORED_HEADER = 500  # characters of a header, and of an address that is not ours
MAX_UNADDRESSED_BODY = 64_000  # bytes of a refused body whose address names no subject
MAX_STATUS = 50  # characters of the provider's word for a task's status
REJECTED_PREFIX = "rejected:"  # of deduplication keys: a persisted label
SHA256_PREFIX = "sha256:"  # of deduplication keys: a persisted label


def verify(resources: Resources, raw: RawCallback) -> Callback:
    """Verify and read a callback. Nothing is written, and nothing raised: one that is not genuine,
    or cannot be read, comes back with its refusal."""
    subject_id = _subject_id(resources, raw.token) if raw.token else None
    try:
        return _verified(resources, raw, subject_id)
    except (SignatureError, Malformed) as error:
        # Without the frames that it and its cause came through: they hold the body.
        error.__traceback__ = error.__context__ = None
        return _refused(resources, raw, subject_id, error)


def _subject_id(resources: Resources, token: str) -> str | None:
    """The subject that a token names, whichever of our keys made it; None if none did."""
    named = (subject_id_of(key, token) for key in resources.callback_token_keys)
    return next((subject_id for subject_id in named if subject_id is not None), None)


def _verified(resources: Resources, raw: RawCallback, subject_id: str | None) -> Callback:
    """The callback; SignatureError or Malformed if it must be refused."""
    if raw.token and subject_id is None:
        raise SignatureError("This address was not made by this service.")
    secrets = resources.webhook_secrets
    scheme, keys = secrets.scheme_and_keys(raw.source)
    early_report = read_callback(raw.body) if scheme.signs_task_id else None
    task_id = early_report.provider_task_id if early_report else None
    message_id = _message_id(secrets, scheme, keys, raw, task_id)
    report = early_report or read_callback(raw.body)
    signed = scheme.covers_body
    return Callback(
        raw=raw,
        id=resources.new_id("cbk", raw.received_at),
        dedup_key=(signed and message_id) or _digest(raw.token or "", raw.body),
        verification=Verification.SIGNED if signed else _address_verification(subject_id),
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
    task_id: str | None,
) -> str | None:
    """The message id of a genuine callback, if its scheme has ids. A shared secret that was stored
    may be hashed with SECRET_KEY or with any previous one."""
    check = partial(
        verify_signature, scheme, keys, raw.headers, raw.body, raw.received_at, task_id=task_id
    )
    if not raw.secrets_hashed:
        return check()
    *hash_keys, last = secrets.hash_keys
    for hash_key in hash_keys:
        with suppress(SignatureError):
            return check(hash_key=hash_key)
    return check(hash_key=last)


def _address_verification(subject_id: str | None) -> Verification:
    """What proves where a callback comes from, if no signature does."""
    return Verification.ADDRESS if subject_id else Verification.NONE


def _refused(
    resources: Resources,
    raw: RawCallback,
    subject_id: str | None,
    error: SignatureError | Malformed,
) -> Callback:
    """The callback as it is stored: with the headers that verifying it again needs, and no secret.
    An address of ours is a secret too, so of its token only the subject is stored."""
    secrets, token, body = resources.webhook_secrets, raw.token, raw.body
    if subject_id is None and len(body) > MAX_UNADDRESSED_BODY:  # or strangers could fill the disk
        body = body[:MAX_UNADDRESSED_BODY]
        error = type(error)(f"{error} Only its first {MAX_UNADDRESSED_BODY} bytes are stored.")
    headers = {**_plain_headers(raw.headers), **secrets.retained_headers(raw.source, raw.headers)}
    identity = repr((raw.source, token, sorted(headers.items())))
    return Callback(
        raw=raw,
        id=resources.new_id("cbk", raw.received_at),
        dedup_key=REJECTED_PREFIX + _digest(identity, raw.body),
        verification=_address_verification(subject_id),
        subject_id=subject_id,
        body=body,
        headers=headers,
        report=EMPTY_REPORT,
        secrets_version=secrets.version,
        token=clean_text(token)[:MAX_STORED_HEADER] if token and not subject_id else None,
        refusal=error,
    )


def _digest(identity: str, body: bytes) -> str:
    """The deduplication key of a message that has no id of its own."""
    data = identity.encode(errors="replace") + b"\n" + body
    return SHA256_PREFIX + hashlib.sha256(data).hexdigest()


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    named = (name for name in PLAIN_HEADERS if name in headers)
    return {name: clean_text(headers[name])[:MAX_STORED_HEADER] for name in named}
