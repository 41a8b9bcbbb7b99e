"""Erasure of many subjects: all of an account or of a tag, or those that log lines name."""

from collections.abc import AsyncIterator, Iterable
from itertools import islice

from msgspec import Struct

from service.accounts.domain.actor import Actor
from service.accounts.steps import authenticate
from service.erasure.steps.erase import BATCH, erase_again
from service.erasure.store import matching
from service.erasure.store.matching import Candidate
from service.intake.domain.request_rules import TAGS
from service.kit.database.bounded_scan import ListPosition
from service.kit.errors import FieldError, Invalid
from service.resources import Resources
from service.subjects.domain.lifecycle import State


class Progress(Struct, frozen=True):
    """What became of some of the subjects."""

    erased: int = 0  # now; of a dry run, that would be
    before: int = 0  # were erased before
    unknown: int = 0  # ids that no subject has
    unfinished: tuple[tuple[str, State], ...] = ()  # ids and states of those that are left alone

    def __add__(self, other: "Progress") -> "Progress":
        """The numbers of both; whoever adds has shown the unfinished ones."""
        return Progress(
            self.erased + other.erased,
            self.before + other.before,
            self.unknown + other.unknown,
        )


async def erase_matching(
    resources: Resources,
    *,
    account: str | None,
    tag: str | None,
    actor: Actor,
    dry_run: bool = False,
) -> AsyncIterator[Progress]:
    """Erase the finished subjects of the account of this name that have this tag (None: of any),
    made until now, some in each transaction. Invalid for a name or a tag that is none."""
    account_id = await _check(resources, account, tag)
    until = resources.clock()
    rest: ListPosition | None = matching.START
    while rest is not None:
        async with resources.database.autocommit() as tx:
            found, rest = await matching.candidates(tx, account_id, tag, until, rest)
        finished = [one.id for one in found if one.finished and not one.erased]
        yield _others(found, erased=len(finished) if dry_run else 0)
        if not dry_run:
            async for progress in erase_named(resources, finished, actor):
                yield progress


async def erase_named(
    resources: Resources, subject_ids: Iterable[str], actor: Actor
) -> AsyncIterator[Progress]:
    """Erase the finished ones of these subjects, whosever they are, some in each transaction."""
    rest = iter(subject_ids)
    while ids := list(islice(rest, BATCH)):
        done = await erase_again(resources, ids, actor)
        yield Progress(
            len(done.now),
            len(done.before),
            len(done.unknown),
            tuple((subject.id, subject.state) for subject in done.unfinished),
        )


def _others(found: Iterable[Candidate], erased: int) -> Progress:
    """What there is to say of those that are not erased now."""
    unfinished = tuple((one.id, one.state) for one in found if not one.finished)
    return Progress(erased, sum(one.erased for one in found), 0, unfinished)


async def _check(resources: Resources, account: str | None, tag: str | None) -> str | None:
    """The id of the account of this name; None for None. Invalid with every error."""
    errors = []
    account_id = None
    if account is not None:
        account_id = await authenticate.account_id_by_name(resources, account)
        if account_id is None:
            rule = "account is not the name of an account"
            errors.append(FieldError("/account", "unknown", rule))
    if tag is not None and tag not in TAGS:
        errors.append(FieldError("/tag", "unknown", f"tag must be one of {', '.join(TAGS)}"))
    if errors:
        raise Invalid(errors)
    return account_id
