"""DELETE /v1/subjects/{id}: what a finished subject held is wiped; with ?provider=true the provider
deletes what it made of it first."""

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import actor_of, authorize
from service.erasure.domain.erasure import ErasureState
from service.erasure.steps import erase as erase_steps
from service.erasure.steps import erase_there_first
from service.erasure.steps.show import erasure_member, member_after_erasure
from service.kit.http.request import Request
from service.kit.http.requests import Query, path_parameter
from service.kit.http.responses import json_response
from service.request_context import resources
from service.retention.domain.retention import kept_until_member
from service.subjects.domain.representation import public_subject

TRUE, FALSE = "true", "false"


async def erase(request: Request) -> Response:
    """The tombstone, and what the provider still has, whether it was erased now or before; 202 and
    the subject as it was, while the provider is to delete it first."""
    caller = await authorize(request, KeyScope.SUBJECTS_WRITE)
    query = Query(request)
    at_provider_first = query.text("provider", frozenset({TRUE, FALSE})) == TRUE
    query.finish()
    subject_id, app_resources = path_parameter(request, "subject_id"), resources(request)
    account_id, actor, status = caller.account_id, actor_of(request, caller), 200
    if at_provider_first:
        subject, erasure = await erase_there_first.erase(
            app_resources, account_id, subject_id, actor
        )
        status = 202 if erasure.state is ErasureState.PENDING else 200
        member = await erasure_member(app_resources, erasure)
    else:
        subject = await erase_steps.erase(app_resources, account_id, subject_id, actor)
        member = await member_after_erasure(app_resources, subject)
    shown = public_subject(subject) | kept_until_member(subject, app_resources.settings)
    return json_response(shown | member | caller.account_field, status)
