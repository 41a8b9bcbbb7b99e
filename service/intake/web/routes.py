"""What may be created, GET /v1/capabilities; creating a subject, POST /v1/subjects, and up to a
hundred of them, POST /v1/subjects/batch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from msgspec.structs import replace
from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.store.authentication import Caller
from service.accounts.web.authorize import OPERATOR, actor_of, authorize
from service.intake.domain.create_request import Accepted, CreateRequest, CreateResult
from service.intake.domain.door import Door
from service.intake.steps.accept import accept, accept_batch
from service.intake.steps.count_accepted import count_accepted
from service.intake.steps.count_refused import count_items, counted
from service.intake.steps.validate import MAX_BATCH, validate, validate_many
from service.kit import tracing
from service.kit.errors import CallsheetError, FieldError, Invalid
from service.kit.http import large_bodies
from service.kit.http.headers import single_header
from service.kit.http.request import Request
from service.kit.http.requests import MAX_SMALL_BODY, Query
from service.kit.http.responses import error_body, json_response, status_of
from service.kit.tracing import Span
from service.provider.domain.model_capabilities import MODELS
from service.request_context import public_path, resources
from service.resources import Resources
from service.retention.domain.retention import kept_until_member
from service.settings import Settings
from service.subjects.domain.representation import public_subject

# Four images of 10 MB in Base64 (4/3 of that), and the other fields; no fifth fits.
MAX_SUBJECT_BODY = 4 * 13_333_336 + MAX_SMALL_BODY


async def capabilities(request: Request) -> Response:
    """GET /v1/capabilities: the models, and the reference types that each takes."""
    await authorize(request, KeyScope.SUBJECTS_READ)
    Query(request).finish()
    return json_response({"data": MODELS})


async def create(request: Request) -> Response:
    """POST /v1/subjects: 202 with the new subject, or 200 with that of an equal earlier request."""
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE, allow_operator=False)
    settings = resources(request).settings
    parse = partial(validate, settings, caller.account_id, **_headers(request))
    accepted = await accept_body(request, caller.account_id, parse, Door.API)
    location = {"location": public_path(request, f"/v1/subjects/{accepted.subject.id}")}
    subject = _shown(caller, accepted, settings)
    return json_response(subject, 202 if accepted.created else 200, location)


async def accept_body(
    request: Request, account_id: str, parse: Callable[[object], CreateRequest], door: Door
) -> Accepted:
    """Accept the create request that `parse` makes of the body's JSON; CallsheetError if it is
    refused. A large body keeps its slot until it is accepted."""
    batcher = request.app.state.batchers.creates
    with accepting(request) as span:
        async with large_bodies.read(request, MAX_SUBJECT_BODY, account_id) as body:
            parsed = await body.apply(counted(resources(request), account_id, parse))
            create_request = traced(span, by_operator(request, parsed))
            accepted = await accept(resources(request), create_request, batcher)
        span.link(accepted.subject.id, None)
    count_accepted(door, [accepted])
    return accepted


def accepting(request: Request) -> AbstractContextManager[Span]:
    """The span of a subject's acceptance: a child of the caller's, if the request names that."""
    caller = request.headers.get("traceparent")
    return tracing.span("accept", server=True, headers={"traceparent": caller} if caller else {})


def traced(span: Span, create_request: CreateRequest) -> CreateRequest:
    """The request, as accepted in this span."""
    return (
        replace(create_request, traceparent=span.traceparent) if span.recording else create_request
    )


def by_operator(request: Request, create_request: CreateRequest) -> CreateRequest:
    """The request, with who makes it if that is an operator's key."""
    caller = request.scope.get(OPERATOR)
    if caller is None:
        return create_request
    return replace(create_request, actor=actor_of(request, caller))


async def create_batch(request: Request) -> Response:
    """POST /v1/subjects/batch: 207 with a result for each request, in the order given. Those that
    are accepted are so in one transaction."""
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE, allow_operator=False)
    parse = partial(_validate_batch, resources(request), caller.account_id, **_headers(request))
    async with large_bodies.read(request, MAX_SUBJECT_BODY, caller.account_id) as body:
        validated = await body.apply(counted(resources(request), caller.account_id, parse))
        valid = [item for item in validated if isinstance(item, CreateRequest)]
        accepted = iter(await _accept_traced(request, valid))
        results = [
            next(accepted) if isinstance(item, CreateRequest) else item for item in validated
        ]
    settings = resources(request).settings
    items = [_batch_item(caller, result, settings) for result in results]
    return json_response({"data": items}, 207)


async def _accept_traced(
    request: Request, create_requests: Sequence[CreateRequest]
) -> list[CreateResult]:
    """Accept requests together, each in a span of its own."""
    with ExitStack() as stack:
        spans = [stack.enter_context(accepting(request)) for _ in create_requests]
        made = [by_operator(request, create_request) for create_request in create_requests]
        requests = [traced(*pair) for pair in zip(spans, made, strict=True)]
        results = await accept_batch(resources(request), requests)
        for span, result in zip(spans, results, strict=True):
            if isinstance(result, CallsheetError):
                span.fail(result.code)
            else:
                span.link(result.subject.id, None)
    count_accepted(Door.BATCH, results)
    return results


def _validate_batch(
    resources: Resources, account_id: str, body: object, **headers: str | None
) -> list[CreateRequest | CallsheetError]:
    """The request or the error of each item of a batch; Invalid if the body is no batch."""
    items: object = body.get("subjects") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(items, list) or not 0 < len(items) <= MAX_BATCH:
        message = f"subjects must be an array of 1 to {MAX_BATCH} requests, alone in the body"
        raise Invalid([FieldError("/subjects", "batch", message)])
    validated = validate_many(resources.settings, account_id, items, **headers)
    count_items(resources, account_id, items, validated)
    return validated


def _shown(caller: Caller, accepted: Accepted, settings: Settings) -> dict[str, Any]:
    """The subject of an accepted request, which may have ended where the request was repeated."""
    kept_until = kept_until_member(accepted.subject, settings)
    return public_subject(accepted.subject) | kept_until | caller.account_field


def _batch_item(caller: Caller, result: CreateResult, settings: Settings) -> dict[str, Any]:
    if isinstance(result, CallsheetError):
        return {"status": status_of(result), "problem": error_body(result)}
    shown = _shown(caller, result, settings)
    return {"status": 202 if result.created else 200, "subject": shown}


def _headers(request: Request) -> dict[str, str | None]:
    """The headers Idempotency-Key and Cancel-After, as arguments of validate()."""
    headers = request.headers
    return {
        "idempotency_key": single_header(headers, "idempotency-key"),
        "cancel_after": single_header(headers, "cancel-after"),
    }
