"""Media checks are claimed by the index of those that wait, and recorded under their token."""

import asyncpg
import pytest

from service.intake.store import insert
from service.intake.store.insert import NewSubject
from service.media.steps.check_media import MediaChecker
from service.media.store import media_checks
from service.media.store.media_checks import MediaClaimLimits
from service.resources import Resources
from tests.submission.test_claim import create_account
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch, query_plan, table_scans
from tests.support.media_host import media_host
from tests.support.metrics import MetricChanges
from tests.support.subjects import make_subject

FILLED = """
    INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version, available_at,
        deadline, created_at, updated_at, finished_at, media_check_at)
    SELECT 'sub_old' || n, $1, 'f', '{}', '{}', CASE n % 2 WHEN 0 THEN 'canceled' ELSE 'queued' END,
        1, now(), now(), now(), now(), CASE n % 2 WHEN 0 THEN now() END,
        CASE WHEN n <= $2 THEN now() - n * interval '1 s' END
    FROM generate_series(1, 4000) n
"""


@pytest.mark.parametrize("waiting", [0, 10, 4000])
async def test_no_plan_reads_more_subjects_than_wait(resources: Resources, waiting: int) -> None:
    await fetch(resources, FILLED, await create_account(resources, "acme"), waiting)
    now = resources.clock()
    async with resources.database.transaction() as tx:
        with executed_statements() as statements:
            limits = MediaClaimLimits(4, {}, {})
            await media_checks.claim(
                tx, resources.home.fence, limits, token="lse_1", now=now, until=now
            )
            assert not await media_checks.holds_lease(tx, "sub_old1", "lse_0")
            assert not await media_checks.complete(tx, "sub_old1", "lse_0")
            assert not await media_checks.release(tx, "sub_old1", "lse_0", now, counts=True)
    connection = await asyncpg.connect(resources.settings.database_url)
    try:
        await connection.execute("ANALYZE")
        subject_scans = [
            (scan["Node Type"], scan.get("Index Name"))
            for statement in statements
            for scan in table_scans(await query_plan(connection, statement))
            if scan.get("Relation Name") == "subjects"
        ]
    finally:
        await connection.close()
    assert len(subject_scans) > len(statements)
    assert {index for _, index in subject_scans} == {"ix_subjects_media_check", "pk_subjects"}, (
        subject_scans
    )


async def test_a_claimed_check_is_recorded_under_its_token_alone(resources: Resources) -> None:
    account = await create_account(resources, "acme")
    now = resources.clock()
    subject = make_subject(id=resources.new_id("sub"), account_id=account, created_at=now)
    async with resources.database.transaction() as tx:
        await insert.add_subjects(tx, [NewSubject(subject, media_due=True)])
        limits = MediaClaimLimits(1, {}, {})
        (check,) = await media_checks.claim(
            tx, resources.home.fence, limits, token="lse_1", now=now, until=now
        )
        assert (check.id, check.account_id, check.attempts) == (subject.id, account, 0)
        assert not await media_checks.complete(tx, subject.id, "lse_2")
        assert await media_checks.holds_lease(tx, subject.id, "lse_1")
        assert await media_checks.complete(tx, subject.id, "lse_1")
        assert not await media_checks.holds_lease(tx, subject.id, "lse_1")


async def test_a_check_whose_lease_ran_out_is_counted_when_it_is_claimed_again(
    api: Api, clock: Clock
) -> None:
    async with media_host() as media:
        await api.create(**media.images("front", "side"))
        changes = MetricChanges()
        await MediaChecker(api.resources).claim(2)
        assert changes.of("leases_expired_total") == {}
        clock.advance(api.resources.settings.lease)
        await MediaChecker(api.resources).claim(2)
        assert changes.of("leases_expired_total") == {(): 1}
