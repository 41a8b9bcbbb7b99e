"""From what a caller sent to a CreateRequest, or to everything that is wrong with it.

Nothing is waited for, and no database is asked: whether the request is accepted is for accept.py.
"""

from collections.abc import Sequence
from dataclasses import replace

from service.intake.domain.create_request import CreateRequest
from service.intake.domain.request_rules import parse_request
from service.kit.errors import CallsheetError, FieldError, Invalid
from service.kit.network.url_policy import check_url
from service.kit.timestamps import parse_duration
from service.settings import Settings

MAX_KEY_LENGTH = 255  # characters; the usual bound of such headers
MAX_BATCH = 100  # requests of one batch; ours
MAX_BATCH_KEY_LENGTH = MAX_KEY_LENGTH - len(
    f"/{MAX_BATCH}"
)  # each request of a batch makes its key of it
MAX_HEADER_ERRORS = 2  # one about the idempotency key, one about Cancel-After


def validate(
    settings: Settings,
    account_id: str,
    body: object,
    idempotency_key: object = None,
    cancel_after: str | None = None,
) -> CreateRequest:
    """The request that an account makes by a JSON body, under an idempotency key if it gave one;
    `cancel_after` is what the header Cancel-After says. Invalid with every broken rule."""
    seconds, errors = _read_headers(settings, idempotency_key, cancel_after)
    try:
        request = parse_request(
            body,
            account_id,
            allow_voice_for_images=settings.allow_voice_for_images,
            ports=settings.allowed_ports,
        )
    except Invalid as error:
        raise Invalid([*errors, *error.errors]) from None
    if request.callback_url is not None:
        errors += callback_url_errors(settings, request.callback_url)
    if errors:
        raise Invalid(errors)
    key = None if idempotency_key is None else str(idempotency_key)
    return replace(request, idempotency_key=key, cancel_after=seconds)


def validate_many(
    settings: Settings,
    account_id: str,
    bodies: Sequence[object],
    idempotency_key: object = None,
    cancel_after: str | None = None,
) -> list[CreateRequest | CallsheetError]:
    """The request that each body makes, or the error with all that is wrong with it; the n-th, from
    0, under the idempotency key with `/n` after it. Invalid where a header breaks a rule."""
    _, errors = _read_headers(settings, idempotency_key, cancel_after, MAX_BATCH_KEY_LENGTH)
    if errors:
        raise Invalid(errors)
    requests: list[CreateRequest | CallsheetError] = []
    for number, body in enumerate(bodies):
        key = None if idempotency_key is None else f"{idempotency_key}/{number}"
        try:
            requests.append(validate(settings, account_id, body, key, cancel_after))
        except Invalid as error:
            requests.append(Invalid(error.errors))  # without its frames, which hold the body
    return requests


def callback_url_errors(settings: Settings, url: str) -> list[FieldError]:
    """Why a callback_url may not be called, as far as its text says: a name is judged each time it
    is dialled. The provider takes http too, and so do those who only change its base URL."""
    return check_url(
        url,
        pointer="/callback_url",
        https_only=False,
        allowed=settings.allowed_private_targets,
        ports=settings.allowed_ports,
    )


def _read_headers(
    settings: Settings, key: object, cancel_after: str | None, max_key: int = MAX_KEY_LENGTH
) -> tuple[float | None, list[FieldError]]:
    """The seconds that Cancel-After says, None without it; and what is wrong with either header."""
    seconds, errors = None, []
    if key is not None and not _is_key(key, max_key):
        message = f"Idempotency-Key is 1 to {max_key} printable ASCII characters"
        errors.append(FieldError("", "idempotency_key", message))
    if cancel_after is not None:
        try:
            seconds = parse_duration(cancel_after, settings.task_deadline)
        except ValueError as error:
            errors.append(FieldError("", "cancel_after", f"Cancel-After {error}"))
    return seconds, errors


def _is_key(key: object, max_key: int) -> bool:
    return isinstance(key, str) and 0 < len(key) <= max_key and key.isascii() and key.isprintable()
