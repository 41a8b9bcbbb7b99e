"""What may be asked for, GET /v1/capabilities; and asking for it, POST /v1/subjects for one subject
and POST /v1/subjects/batch for up to a hundred."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.core.capabilities import MODELS
from service.core.errors import CallsheetError, Finding, Invalid
from service.core.subjects import public
from service.steps import intake
from service.steps.enter import LIGHT, Accepted, Outcome, Wish
from service.steps.intake import MOST, Asked
from service.steps.resources import Resources
from service.store.callers import Caller
from service.web import bodies
from service.web.headers import only
from service.web.requests import MAX_SUBJECT_BODY, Query, authorize, outside, resources
from service.web.responses import problem_body, rendered, status_of


async def capabilities(request: Request) -> Response:
    """Which model takes which kind of subject."""
    await authorize(request, "subjects:read")
    Query(request).done()
    return rendered({"data": MODELS})


async def create(request: Request) -> Response:
    caller = await authorize(request, "subjects:write", own=True)
    accepted = await take(request, _asked(request, caller.account_id))
    location = {"location": outside(request, f"/v1/subjects/{accepted.subject.id}")}
    shown = public(accepted.subject) | caller.account_shown
    return rendered(shown, 202 if accepted.created else 200, location)


async def take(
    request: Request, asked: Asked, given: Callable[[object], object] | None = None
) -> Accepted:
    """What the request's body asks for, accepted; or refused, by raising. `given` makes of a body
    what the rules are to see."""
    read = partial(intake.read, resources(request), asked)
    async with bodies.read(request, MAX_SUBJECT_BODY, asked.account_id) as body:
        wish = await body.apply(read if given is None else lambda value: read(given(value)))
        return await _put(request, wish)


async def _put(request: Request, wish: Wish) -> Accepted:
    """Together with what comes at the same moment."""
    if wish.weight > LIGHT:
        (outcome,) = await intake.accept_all(resources(request), [wish])
    else:
        outcome = await request.app.state.gathered.intake.submit(wish)
    if isinstance(outcome, CallsheetError):
        raise outcome
    accepted: Accepted = outcome
    return accepted


async def create_many(request: Request) -> Response:
    """Each is answered by itself, in the order given; all that are accepted are so together."""
    caller = await authorize(request, "subjects:write", own=True)
    given = resources(request)
    read = partial(_read_many, given, _asked(request, caller.account_id))
    async with bodies.read(request, MAX_SUBJECT_BODY, caller.account_id) as body:
        wishes = await body.apply(read)
        good = [one for one in wishes if isinstance(one, Wish)]
        outcomes = iter(await intake.accept_all(given, good))
        answers = [next(outcomes) if isinstance(one, Wish) else one for one in wishes]
    return rendered({"data": [_answer(caller, one) for one in answers]}, 207)


def _read_many(given: Resources, asked: Asked, body: object) -> list[Wish | CallsheetError]:
    found: object = body.get("subjects") if isinstance(body, dict) and len(body) == 1 else None
    if not isinstance(found, list) or not 0 < len(found) <= MOST:
        message = f'the body must be {{"subjects": [...]}} with 1 to {MOST} requests'
        raise Invalid([Finding("/subjects", "batch", message)])
    return intake.read_many(given, asked, found)


def _answer(caller: Caller, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, CallsheetError):
        return {"status": status_of(outcome), "problem": problem_body(outcome)}
    shown = public(outcome.subject) | caller.account_shown
    return {"status": 202 if outcome.created else 200, "subject": shown}


def _asked(request: Request, account_id: str) -> Asked:
    headers = request.headers
    return Asked(account_id, only(headers, "idempotency-key"), only(headers, "cancel-after"))
