"""Leases are renewed by what their rows are known by, however much is under way."""

import asyncpg

from service.kit.leases import Lease
from service.reconciliation.steps import renew_leases
from service.resources import Resources
from tests.schema.test_plans import FILLED
from tests.support.database import executed_statements, query_plan, table_scans


async def test_a_renewal_finds_each_row_by_its_id(resources: Resources) -> None:
    with executed_statements() as statements:
        await renew_leases.renew(resources, [Lease("lse_1", "sub_old1", resources.clock())])
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute(FILLED)
        (renewal,) = [statement for statement in statements if "lease_until" in statement]
        scans = list(table_scans(await query_plan(connection, renewal)))
    finally:
        await connection.close()
    # A bitmap is made of ids that are given; what each lease's row is sought by is its condition.
    indexes = {scan["Index Name"] for scan in scans if scan["Node Type"] != "Bitmap Heap Scan"}
    assert indexes == {"pk_subjects", "pk_deliveries"}
    assert {scan["Relation Name"] for scan in scans} == {"subjects", "deliveries"}
