"""Subjects are claimed once each, in turn and in order, and never too many."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from service.accounts.store import api_keys
from service.intake.store import insert
from service.intake.store.insert import NewSubject
from service.resources import Resources
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate, Subject, apply_update
from service.subjects.store import subjects, transitions
from service.subjects.store.transitions import Transition
from service.submission.steps import submit
from service.submission.store import claim
from tests.support.clock import Clock
from tests.support.subjects import make_subject

TOKEN = "lse_1"


async def create_account(resources: Resources, name: str) -> str:
    async with resources.database.transaction() as tx:
        return await api_keys.ensure_account(
            tx, account_id=resources.new_id("acc"), name=name, now=resources.clock()
        )


async def create_queued(
    resources: Resources, account_id: str, count: int, **changes: object
) -> list[Subject]:
    """So many subjects, each a millisecond younger than the one before."""
    now = resources.clock()
    made = [
        make_subject(
            id=resources.new_id("sub"),
            account_id=account_id,
            created_at=now,
            updated_at=now,
            available_at=now + timedelta(milliseconds=number),
            deadline=now + timedelta(days=1),
            **changes,
        )
        for number in range(count)
    ]
    async with resources.database.transaction() as tx:
        for subject in made:
            await insert.add_subjects(tx, [NewSubject(subject)])
    return made


async def claim_queued(resources: Resources, limit: int, token: str = TOKEN) -> list[Subject]:
    now = resources.clock()
    async with resources.database.transaction() as tx:
        return await claim.claim(
            tx,
            resources.home.fence,
            now=now,
            lease_until=now + timedelta(seconds=30),
            token=token,
            limit=limit,
        )


def ids_of(claimed: Sequence[Subject]) -> list[str]:
    return [subject.id for subject in claimed]


async def test_claimants_at_once_never_share_a_subject(resources: Resources, clock: Clock) -> None:
    made = await create_queued(resources, await create_account(resources, "a"), 60)
    clock.advance(1)
    batches = await asyncio.gather(*(claim_queued(resources, 5, f"lse_{n}") for n in range(20)))
    handed_out = Counter(subject.id for batch in batches for subject in batch)
    assert set(handed_out.values()) == {1}
    assert set(handed_out) <= set(ids_of(made))
    rest = await claim_queued(resources, 100)
    assert sorted([*handed_out, *ids_of(rest)]) == sorted(ids_of(made)), "none is lost"


async def test_all_claimants_together_keep_to_the_parallel_limit(
    resources: Resources, clock: Clock
) -> None:
    settings = replace(resources.settings, provider_parallel=7)
    resources = replace(resources, settings=settings)
    await create_queued(resources, await create_account(resources, "a"), 60)
    clock.advance(1)
    batches = await asyncio.gather(*(submit.claim(resources, 5) for _ in range(20)))
    assert sum(len(batch) for batch in batches) == 7
    assert await submit.claim(resources, 5) == []


async def test_a_claim_carries_its_lease(resources: Resources, clock: Clock) -> None:
    (subject,) = await create_queued(resources, await create_account(resources, "a"), 1)
    clock.advance(1)
    (claimed_subject,) = await claim_queued(resources, 1)
    assert (claimed_subject.id, claimed_subject.state, claimed_subject.attempts) == (
        subject.id,
        State.SUBMITTING,
        1,
    )
    assert (claimed_subject.lease_token, claimed_subject.lease_until) == (
        TOKEN,
        clock() + timedelta(seconds=30),
    )
    assert (claimed_subject.claimed_at, claimed_subject.version) == (clock(), 1)


async def test_accounts_take_turns_however_long_one_queue_is(
    resources: Resources, clock: Clock
) -> None:
    first, second = [await create_account(resources, name) for name in ("long", "short")]
    await create_queued(resources, first, 100)
    clock.advance(1)
    await claim_queued(resources, 10)
    short = await create_queued(resources, second, 2)
    clock.advance(1)
    turns = []
    for _ in range(4):
        (claimed_subject,) = await claim_queued(resources, 1)
        turns.append(claimed_subject.account_id)
        clock.advance(1)
    assert turns == [second, first, second, first]
    assert short


async def test_a_batch_is_shared_between_accounts(resources: Resources, clock: Clock) -> None:
    first, second = [await create_account(resources, name) for name in ("long", "short")]
    await create_queued(resources, first, 100)
    await create_queued(resources, second, 2)
    clock.advance(1)
    batch = Counter(subject.account_id for subject in await claim_queued(resources, 10))
    assert batch == {first: 8, second: 2}


async def test_an_account_is_served_in_order_of_age(resources: Resources, clock: Clock) -> None:
    account = await create_account(resources, "a")
    made = await create_queued(resources, account, 10)
    clock.advance(1)
    served = [ids_of(await claim_queued(resources, 1))[0] for _ in made]
    assert served == ids_of(made)


async def test_a_deferred_subject_is_not_claimed_before_its_time(
    resources: Resources, clock: Clock
) -> None:
    account = await create_account(resources, "a")
    (subject,) = await create_queued(resources, account, 1)
    (claimed_subject,) = await claim_queued(resources, 1)
    at = clock() + timedelta(seconds=60)
    async with resources.database.transaction() as tx:
        later = apply_update(
            claimed_subject, State.QUEUED, StatusUpdate(Signal.DEFERRED, retry_at=at), clock()
        )
        await transitions.write(tx, [Transition(claimed_subject, later)])
    clock.advance(59)
    assert await claim_queued(resources, 1) == []
    clock.advance(1)
    assert ids_of(await claim_queued(resources, 1)) == [subject.id]


async def test_a_subject_that_somebody_moves_is_passed_over(resources: Resources) -> None:
    account = await create_account(resources, "a")
    locked, free = await create_queued(resources, account, 2)
    async with resources.database.transaction() as tx:
        await subjects.lock(tx, locked.id)
        now = resources.clock() + timedelta(seconds=1)
        async with resources.database.transaction() as other:
            claimed = await claim.claim(
                other, resources.home.fence, now=now, lease_until=now, token=TOKEN, limit=2
            )
    assert ids_of(claimed) == [free.id]
