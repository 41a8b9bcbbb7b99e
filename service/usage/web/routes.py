"""GET /v1/usage: what became of requests, day by day, and what the provider deducted."""

from typing import Any

from starlette.responses import Response

from service.accounts.domain.scopes import KeyScope
from service.accounts.web.authorize import account_filter, authorize
from service.kit.http.content_negotiation import wants
from service.kit.http.request import Request
from service.kit.http.requests import Query
from service.kit.http.responses import BytesResponse, json_response
from service.kit.timestamps import format_rfc3339
from service.request_context import resources
from service.usage.domain.report import as_csv, line_document, totals_document
from service.usage.domain.window import read_window
from service.usage.steps.read import UsageReport, read

CSV = "text/csv"
VARY = {"vary": "Accept"}


async def usage(request: Request) -> Response:
    """The usage of the account's days; of every account for an operator. CSV if `Accept` names
    that before JSON."""
    caller = await authorize(request, KeyScope.SUBJECTS_READ)
    query = Query(request)
    window = read_window(
        query.text("from"), query.text("to"), resources(request).clock().date(), query.add_error
    )
    account_id = await account_filter(request, caller, query)
    query.finish()
    report = await read(resources(request), window, account_id)
    if wants(request, CSV):
        return _csv(report, with_account=caller.sees_all)
    return json_response(_document(report, with_account=caller.sees_all), headers=VARY)


def _csv(report: UsageReport, *, with_account: bool) -> Response:
    name = f'attachment; filename="usage-{report.first}-{report.end}.csv"'
    body = as_csv(report.lines, with_account=with_account).encode()
    headers = VARY | {"content-disposition": name}
    return BytesResponse(body, 200, f"{CSV}; charset=utf-8; header=present", headers)


def _document(report: UsageReport, *, with_account: bool) -> dict[str, Any]:
    return {
        "data": [line_document(line, with_account=with_account) for line in report.lines],
        "from": report.first.isoformat(),
        "to": report.end.isoformat(),
        "as_of": format_rfc3339(report.as_of),
        "totals": totals_document(report.totals),
    }
