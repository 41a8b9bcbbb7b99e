"""What a list reads ends with its page, or with so many rows, however long the history is."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest

from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.accounts.steps import api_keys
from service.callbacks.domain.verdicts import Verdict
from tests.schema.test_plans import EMPTIED, FILLED
from tests.support.api import Api
from tests.support.database import SCAN_NODES, executed_statements, query_plan

TABLES = {"accounts", "subjects", "events", "callbacks", "subscribers", "deliveries"}
SOUGHT = {  # each leads to few rows, which are all wanted
    *("subjects_pkey", "pk_subjects", "pk_callbacks", "pk_subscribers"),
    *("uq_subjects_account_id_external_task_id", "ix_callbacks_subject"),
    *("ix_subscribers_fan_out", "ix_subscribers_account", "pk_deliveries"),
    *("pk_accounts", "uq_accounts_name"),
}
FEW = {
    "ix_deliveries_leased",  # as many as workers are sending
    "ix_callbacks_untrusted",  # as many as are kept of what anybody may send
    "ix_subjects_with_provider",  # as many as may be with the provider at once
}
ONE = {"id", "external_task_id", "subject_id", "account_id", "name"}
BETWEEN = {"created_after": "2026-01-01T00:00:00Z", "created_before": "2026-12-31T00:00:00Z"}
# While there are none, whatever leads to accounts leads to few.
MANY_ACCOUNTS = """
    INSERT INTO accounts (id, name, created_at)
    SELECT 'acc_' || n, 'account ' || n, now() FROM generate_series(1, 5000) n; ANALYZE accounts
"""
AFTER = {"created_after": "2026-01-01T00:00:00Z"}


def endless(
    node: dict[str, Any], tables: set[str], *, ends: bool = False
) -> Iterator[dict[str, Any]]:
    """The scans of these tables that may pass over rows, or go on when enough is read: `ends` while
    what is above stops them."""
    kind = node["Node Type"]
    if kind in SCAN_NODES and node.get("Relation Name") in tables and not _ends(node, ends=ends):
        yield node
    streams = kind in {"Limit", "WindowAgg", "Subquery Scan", "Nested Loop", *SCAN_NODES}
    for below in node.get("Plans", ()):
        yield from endless(below, tables, ends=kind == "Limit" or (ends and streams))


def _ends(scan: dict[str, Any], *, ends: bool) -> bool:
    leading = next(iter(scan.get("Plans", ())), scan)  # to a bitmap
    found = leading.get("Index Cond", "")
    if leading.get("Index Name") in SOUGHT and any(f"({name} = " in found for name in ONE):
        return True
    return scan.get("Index Name") in FEW or (ends and "Filter" not in scan)


async def lists(http: httpx.AsyncClient, *, operator: bool) -> None:
    """Every list with every filter, and some together."""
    accounts: list[dict[str, str]] = [{}, {"account": "acme"}] if operator else [{}]
    narrowed: list[dict[str, str]] = [{}, {"state": "failed"}, {"tag": "o_101"}]
    narrowed += [AFTER, BETWEEN, {**BETWEEN, "tag": "o_101"}, {"external_task_id": "a-name"}]
    narrowed += [{"external_task_id": "a-name", "state": "failed", **BETWEEN}]
    for account, filters in product(accounts, narrowed):
        page = await got(http, "/v1/subjects", limit="1", **account, **filters)
        if page["next_cursor"] is not None:
            await got(http, "/v1/subjects", cursor=page["next_cursor"], **account, **filters)
    for account in accounts:
        await got(http, "/v1/events", **account)
        page = await got(http, "/v1/subscribers", limit="1", **account)
        await got(http, "/v1/subscribers", cursor=page["next_cursor"], **account)
    if operator:
        await callbacks(http)


async def callbacks(http: httpx.AsyncClient) -> None:
    filters = [{"verdict": verdict.value} for verdict in Verdict]
    filters += [{}, {"source": "provider"}, {"account": "acme"}, {"subject": "sub_1"}]
    filters += [{"subject": "sub_1", "verdict": "applied", "source": "provider"}]
    for filter_ in filters:
        await got(http, "/v1/callbacks", **filter_)
        await got(http, "/v1/callbacks", cursor="cbk_1", **filter_)


async def got(http: httpx.AsyncClient, path: str, **params: str) -> Any:  # noqa: ANN401
    answer = await http.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("operator", [False, True])
async def test_no_list_reads_on_for_ever(api: Api, *, operator: bool) -> None:
    scopes = SCOPES if operator else DEFAULT_SCOPES
    key = await api_keys.create(api.resources, "acme", scopes)
    for number in range(2):
        await api.subscribe("http://127.0.0.1:65009")
        await api.create(external_task_id=f"a-name{number or ''}")
    api.http.headers["authorization"] = f"Bearer {key}"
    with executed_statements() as statements:
        await lists(api.http, operator=operator)
    connection = await asyncpg.connect(api.resources.settings.database_url)
    try:
        for rows, tables in (
            (EMPTIED, TABLES - {"accounts"}),
            (f"{FILLED}; {MANY_ACCOUNTS}", TABLES),
        ):
            await connection.execute(rows)
            wrong = [
                f"{scan}: {statement}"
                for statement in dict.fromkeys(statements)
                for scan in endless(await query_plan(connection, statement), tables)
            ]
            assert not wrong, "\n".join(wrong)
    finally:
        await connection.close()
