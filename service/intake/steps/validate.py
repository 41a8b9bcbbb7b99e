"""Validating a create request, body and headers: a CreateRequest, or every broken rule.

No database is asked: whether a valid request is accepted is for accept.py.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from service.intake.domain.create_request import CreateRequest
from service.intake.domain.request_rules import parse_request
from service.kit.errors import CallsheetError, FieldError, Invalid
from service.kit.network.url_policy import check_url
from service.kit.timestamps import parse_duration
from service.settings import Settings

MAX_KEY_LENGTH = 255  # characters; ours
MAX_BATCH = 100  # requests in one batch; ours
MAX_BATCH_KEY_LENGTH = MAX_KEY_LENGTH - len(f"/{MAX_BATCH}")  # `/n` follows
MAX_HEADER_ERRORS = 2  # one about the idempotency key, one about Cancel-After


def validate(
    settings: Settings,
    account_id: str,
    body: object,
    idempotency_key: object = None,
    cancel_after: str | None = None,
) -> CreateRequest:
    """The request that an account makes by a JSON body and its headers Idempotency-Key and
    Cancel-After, None without them. Invalid with every broken rule."""
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
    """The request that each body of a batch makes, or Invalid with every broken rule. The n-th one,
    from 0, has the batch's idempotency key with `/n` after it. Invalid is raised if a header breaks
    a rule."""
    _, errors = _read_headers(settings, idempotency_key, cancel_after, MAX_BATCH_KEY_LENGTH)
    if errors:
        raise Invalid(errors)
    requests: list[CreateRequest | CallsheetError] = []
    for number, body in enumerate(bodies):
        key = None if idempotency_key is None else f"{idempotency_key}/{number}"
        try:
            requests.append(validate(settings, account_id, body, key, cancel_after))
        except Invalid as error:
            # A new one: the frames of the caught one hold the body.
            requests.append(Invalid(error.errors))
    return requests


def callback_url_errors(settings: Settings, url: str) -> list[FieldError]:
    """The rules that a callback_url breaks by its text; the addresses of its host are checked each
    time it is dialled. http is allowed, as the provider allows it."""
    errors = check_url(
        url,
        pointer="/callback_url",
        https_only=False,
        allowed=settings.allowed_private_targets,
        ports=settings.allowed_ports,
    )
    return [
        FieldError(error.pointer, error.code, f"callback_url {error.message}") for error in errors
    ]


def _read_headers(
    settings: Settings, key: object, cancel_after: str | None, max_key: int = MAX_KEY_LENGTH
) -> tuple[float | None, list[FieldError]]:
    """The seconds of Cancel-After, None without it; and the rules that the headers break."""
    seconds, errors = None, []
    if key is not None and not _is_key(key, max_key):
        message = f"Idempotency-Key must have 1 to {max_key} printable ASCII characters"
        errors.append(FieldError("", "idempotency_key", message))
    if cancel_after is not None:
        try:
            seconds = parse_duration(cancel_after, settings.task_deadline)
        except ValueError as error:
            errors.append(FieldError("", "cancel_after", f"Cancel-After {error}"))
    return seconds, errors


def _is_key(key: object, max_key: int) -> bool:
    return isinstance(key, str) and 0 < len(key) <= max_key and key.isascii() and key.isprintable()
