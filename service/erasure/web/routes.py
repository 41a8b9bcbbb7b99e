"""DELETE /v1/subjects/{id}: what a finished subject held is wiped."""

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import actor_of, authorize
from service.erasure.domain.tombstone import at_provider
from service.erasure.steps import erase as erase_steps
from service.kit.http.request import Request
from service.kit.http.requests import path_parameter, refuse_query
from service.kit.http.responses import json_response
from service.request_context import resources
from service.retention.domain.retention import kept_until_member
from service.subjects.domain.representation import public_subject


async def erase(request: Request) -> Response:
    """The tombstone, and what the provider still has, whether it was erased now or before."""
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE)
    refuse_query(request)
    erased = await erase_steps.erase(
        resources(request),
        caller.account_id,
        path_parameter(request, "subject_id"),
        actor_of(request, caller),
    )
    shown = public_subject(erased) | kept_until_member(erased, resources(request).settings)
    shown |= {"erasure": at_provider(erased)}
    return json_response(shown | caller.account_field)
