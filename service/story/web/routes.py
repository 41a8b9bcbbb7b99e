"""GET /v1/subjects/{subject_id}/story."""

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import authorize
from service.kit.http.request import Request
from service.kit.http.requests import path_parameter, refuse_query
from service.kit.http.responses import json_response
from service.request_context import resources
from service.story.steps import story


async def read(request: Request) -> Response:
    """The story, as a file to be saved."""
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    refuse_query(request)
    subject_id = path_parameter(request, "subject_id")
    told = await story.read(resources(request), caller.account_id, subject_id)
    name = f'attachment; filename="story-{told["subject"]["id"]}.json"'
    headers = {"content-disposition": name, "cache-control": "private, no-store"}
    return json_response(told | caller.account_field, headers=headers)
