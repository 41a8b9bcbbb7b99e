"""Stored callbacks, as operators list and read them: those of every account, without secrets."""

from collections.abc import Sequence

from service.accounts.store import owners
from service.callbacks.domain.signature_schemes import PLAIN_HEADERS, Ed25519, Hmac, SharedSecret
from service.callbacks.store import archive
from service.callbacks.store.archive import CallbackFilter, CallbackRecord, CallbackSummary
from service.kit.errors import NotFound
from service.resources import Resources

REDACTED = "(kept)"  # shown in place of a header's value that must stay secret


async def list_callbacks(
    resources: Resources, criteria: CallbackFilter, limit: int
) -> tuple[list[CallbackSummary], str | None, dict[str, int]]:
    """A page of callbacks, newest first; the cursor of the next page, None at the end; and how many
    callbacks there are by verdict, as archive.counts gives it."""
    async with resources.database.transaction() as tx:
        callbacks, cursor = await archive.page(tx, criteria, limit)
        counts = await archive.counts(tx)
    return callbacks, cursor, counts


async def account_names(
    resources: Resources, callbacks: Sequence[CallbackSummary]
) -> list[str | None]:
    """The name of the account that each callback's subject belongs to; None if it has no subject
    that is known."""
    subject_ids = {callback.subject_id for callback in callbacks if callback.subject_id is not None}
    async with resources.database.autocommit() as tx:
        names = await owners.account_names_by_subject(tx, subject_ids)
    return [names.get(callback.subject_id or "") for callback in callbacks]


async def get_callback(resources: Resources, callback_id: str) -> CallbackRecord:
    """The stored callback of this id; NotFound if there is none."""
    async with resources.database.autocommit() as tx:
        callback = await archive.get(tx, callback_id)
    if callback is None:
        raise NotFound
    return callback


def redacted_headers(resources: Resources, callback: CallbackRecord) -> dict[str, str]:
    """The callback's headers; REDACTED in place of its signature, or its shared secret's hash."""
    match resources.settings.callback_sources.get(callback.summary.source):
        case SharedSecret() as scheme:
            secret_header = scheme.header
        case Hmac() | Ed25519() as scheme:
            secret_header = scheme.signature_header
        case _:
            secret_header = ""
    shown = frozenset(PLAIN_HEADERS) - {secret_header}
    return {name: text if name in shown else REDACTED for name, text in callback.headers.items()}
