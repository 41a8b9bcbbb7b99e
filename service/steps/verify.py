"""From bytes to a callback: believed as far as it is vouched for, or refused with the reason."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from service.core import verification
from service.core.errors import Malformed, SignatureError
from service.core.signature_schemes import PLAIN_HEADERS, Scheme
from service.core.task_reports import Report, read_callback
from service.core.text import clean
from service.core.url_tokens import subject_of
from service.steps.callback_secret_cache import Keyring
from service.steps.resources import Resources
from service.store.inbox import Callback, Trust

MAX_KEPT = 500  # characters of one kept header, and of an address that is not ours
MAX_STRANGE = 64_000  # bytes kept of what is refused, and came to no address of ours
MAX_WORD = 50  # characters of the provider's word for how a task is
NOTHING = Report("", None, None, "", "", None, None, None, None)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came; `headers` have lower-case names, `token` is None where the address
    names no subject. `veiled` says that its secrets were replaced when it was kept: see Keyring."""

    source: str
    token: str | None
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    at: datetime
    veiled: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """A callback and what it reports. `refusal` says why it is not believed; `version` is that of
    the secrets it was verified with, None if it was verified before; `seen` counts its copies."""

    callback: Callback
    report: Report
    received: Received
    version: int | None
    refusal: SignatureError | Malformed | None = None
    seen: int = 1

    @property
    def signed(self) -> bool:
        return self.callback.trust is Trust.SIGNED

    @property
    def doubtful(self) -> bool:
        """Whether anybody could make us keep the like of it."""
        return self.refusal is not None or self.callback.trust is Trust.NONE


def receive(resources: Resources, received: Received) -> Incoming:
    """Check and read one callback; nothing is written, and nothing is raised: a callback that
    cannot be believed or read is taken in with its refusal."""
    named = _named(resources, received.token) if received.token else None
    try:
        return _believed(resources, received, named)
    except (SignatureError, Malformed) as error:
        # Without the frames that it and its cause came through: they hold the body.
        error.__traceback__ = error.__context__ = None
        return _refused(resources, received, named, error)


def _named(resources: Resources, token: str) -> str | None:
    """The subject that an address of ours names, whichever of our keys made it."""
    named = (subject_of(key, token) for key in resources.callback_keys)
    return next((one for one in named if one is not None), None)


def _believed(resources: Resources, received: Received, named: str | None) -> Incoming:
    keyring = resources.keyring
    if received.token and named is None:
        raise SignatureError("this address is not one of ours")
    scheme = keyring.scheme(received.source)
    early = read_callback(received.body) if scheme.reads_body else None
    message_id = _verified(keyring, scheme, received, early.provider_task_id if early else None)
    report = early or read_callback(received.body)
    signed = scheme.covers_body
    callback = Callback(
        id=resources.new_id("cbk"),
        source=received.source,
        dedup_key=(signed and message_id) or _digest(received.token or "", received.body),
        trust=Trust.SIGNED if signed else Trust.ADDRESS if named else Trust.NONE,
        subject_id=named,
        body=received.body,
        headers=_kept(received.headers),
        received_at=received.at,
        task_id=report.provider_task_id,
        status=report.word[:MAX_WORD],
        provider_updated_at=report.updated_at,
    )
    return Incoming(callback, report, received, keyring.version)


def _verified(
    keyring: Keyring, scheme: Scheme, received: Received, task_id: str | None
) -> str | None:
    """The message id, as verification.verify gives it; what an earlier key veiled holds too."""
    *others, last = keyring.veils if received.veiled else (None,)
    verify = partial(
        verification.verify,
        scheme,
        keyring.keys(received.source),
        received.headers,
        received.body,
        received.at,
        task_id=task_id,
    )
    for veil in others:
        with suppress(SignatureError):
            return verify(veil=veil)
    return verify(veil=last)


def _refused(
    resources: Resources,
    received: Received,
    named: str | None,
    error: SignatureError | Malformed,
) -> Incoming:
    """As it is kept: with what a later check needs, and no secret. An address of ours is a secret
    too: only what it names is kept of it. Of one that was kept before, this is not kept again."""
    keyring, token = resources.keyring, received.token
    body = received.body
    if named is None and len(body) > MAX_STRANGE:  # or strangers could fill the disk
        body = body[:MAX_STRANGE]
        error = type(error)(f"{error}; only its first {MAX_STRANGE} bytes are kept")
    headers = {**_kept(received.headers), **keyring.proof(received.source, received.headers)}
    said = repr((received.source, token, sorted(headers.items())))
    callback = Callback(
        id=resources.new_id("cbk"),
        source=received.source,
        dedup_key="rejected:" + _digest(said, received.body),
        trust=Trust.ADDRESS if named else Trust.NONE,
        subject_id=named,
        body=body,
        headers=headers,
        received_at=received.at,
        token=clean(token)[:MAX_KEPT] if token and not named else None,
    )
    return Incoming(callback, NOTHING, received, keyring.version, error)


def _digest(token: str, body: bytes) -> str:
    return "sha256:" + hashlib.sha256(token.encode(errors="replace") + b"\n" + body).hexdigest()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: clean(headers[name])[:MAX_KEPT] for name in PLAIN_HEADERS if name in headers}
