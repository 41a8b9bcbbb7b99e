"""What may be asked for, GET /v1/capabilities; and asking for it, POST /v1/subjects for one subject
and POST /v1/subjects/batch for up to a hundred."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import authorize
from service.intake.domain.create_request import Accepted, CreateRequest, CreateResult
from service.intake.steps.accept import accept, accept_batch
from service.intake.steps.validate import MAX_BATCH, validate, validate_many
from service.kit.errors import CallsheetError, FieldError, Invalid
from service.kit.http import large_bodies
from service.kit.http.headers import single_header
from service.kit.http.requests import MAX_SMALL_BODY, Query
from service.kit.http.responses import error_body, json_response, status_of
from service.provider.domain.model_capabilities import MODELS
from service.request_context import public_path, resources
from service.settings import Settings
from service.subjects.domain.representation import public_subject

# Four images of 10 MB in Base64 (4/3 of that), and the other fields; no fifth fits.
MAX_SUBJECT_BODY = 4 * 13_333_336 + MAX_SMALL_BODY


async def capabilities(request: Request) -> Response:
    """Which model takes which kind of subject."""
    await authorize(request, "subjects:read")
    Query(request).finish()
    return json_response({"data": MODELS})


async def create(request: Request) -> Response:
    """A subject of the request's body; status 200 instead of 202 if it was accepted before."""
    caller = await authorize(request, "subjects:write", allow_operator=False)
    settings = resources(request).settings
    read = partial(validate, settings, caller.account_id, **_options(request))
    accepted = await accept_body(request, caller.account_id, read)
    location = {"location": public_path(request, f"/v1/subjects/{accepted.subject.id}")}
    shown = public_subject(accepted.subject) | caller.account_field
    return json_response(shown, 202 if accepted.created else 200, location)


async def accept_body(
    request: Request, account_id: str, read: Callable[[object], CreateRequest]
) -> Accepted:
    """Accept what the request's body asks for, which `read` makes of its JSON value; CallsheetError
    if it is refused. The place of a large body is held until it is accepted."""
    async with large_bodies.read(request, MAX_SUBJECT_BODY, account_id) as body:
        create_request = await body.apply(read)
        return await accept(resources(request), create_request, request.app.state.batchers.creates)


async def create_batch(request: Request) -> Response:
    """Each is answered by itself, in the order given; all that are accepted are so together."""
    caller = await authorize(request, "subjects:write", allow_operator=False)
    given = resources(request)
    read = partial(_validate_batch, given.settings, caller.account_id, **_options(request))
    async with large_bodies.read(request, MAX_SUBJECT_BODY, caller.account_id) as body:
        validated = await body.apply(read)
        valid = [each for each in validated if isinstance(each, CreateRequest)]
        accepted = iter(await accept_batch(given, valid))
        results = [
            next(accepted) if isinstance(each, CreateRequest) else each for each in validated
        ]
    return json_response({"data": [_batch_item(caller, result) for result in results]}, 207)


def _validate_batch(
    settings: Settings, account_id: str, body: object, **options: str | None
) -> list[CreateRequest | CallsheetError]:
    given: object = body.get("subjects") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(given, list) or not 0 < len(given) <= MAX_BATCH:
        message = f'the body must be {{"subjects": [...]}} with 1 to {MAX_BATCH} requests'
        raise Invalid([FieldError("/subjects", "batch", message)])
    return validate_many(settings, account_id, given, **options)


def _batch_item(caller: Caller, result: CreateResult) -> dict[str, Any]:
    if isinstance(result, CallsheetError):
        return {"status": status_of(result), "problem": error_body(result)}
    shown = public_subject(result.subject) | caller.account_field
    return {"status": 202 if result.created else 200, "subject": shown}


def _options(request: Request) -> dict[str, str | None]:
    """What the request's headers say of it, as validate() takes it."""
    headers = request.headers
    return {
        "idempotency_key": single_header(headers, "idempotency-key"),
        "cancel_after": single_header(headers, "cancel-after"),
    }
