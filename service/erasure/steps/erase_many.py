"""Erasure of many subjects: all of an account or of a tag, or those that log lines name."""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice

from msgspec import Struct

from service.accounts.domain.actor import Actor
from service.accounts.steps import authenticate
from service.erasure.steps import erase_there_first
from service.erasure.steps.erase import BATCH, erase_again
from service.erasure.steps.erase_there_first import Asked
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
    pending: int = 0  # erased once the provider has deleted what it made of them
    unfinished: tuple[tuple[str, State], ...] = ()  # ids and states of those that are left alone

    def __add__(self, other: "Progress") -> "Progress":
        """The numbers of both; whoever adds has shown the unfinished ones."""
        return Progress(
            self.erased + other.erased,
            self.before + other.before,
            self.unknown + other.unknown,
            self.pending + other.pending,
        )


async def erase_matching(  # noqa: PLR0913 - the options of the command
    resources: Resources,
    *,
    account: str | None,
    tag: str | None,
    actor: Actor,
    dry_run: bool = False,
    provider: bool = False,
) -> AsyncIterator[Progress]:
    """Erase the finished subjects of the account of this name that have this tag (None: of any),
    made until now, some in each transaction; at the provider first with `provider`, also those that
    were erased here before. Invalid for a name or a tag that is none."""
    account_id = await _check(resources, account, tag)
    until = resources.clock()
    rest: ListPosition | None = matching.START
    while rest is not None:
        async with resources.database.autocommit() as tx:
            found, rest = await matching.candidates(tx, account_id, tag, until, rest)
        taken = [
            subject for subject in found if subject.finished and (provider or not subject.erased)
        ]
        yield _others(found, taken, erased=len(taken) if dry_run else 0)
        if not dry_run:
            ids = [subject.id for subject in taken]
            async for progress in erase_named(resources, ids, actor, provider=provider):
                yield progress


async def erase_named(
    resources: Resources, subject_ids: Iterable[str], actor: Actor, *, provider: bool = False
) -> AsyncIterator[Progress]:
    """Erase the finished ones of these subjects, whosever they are, some in each transaction; at
    the provider first with `provider`."""
    rest = iter(subject_ids)
    while ids := list(islice(rest, BATCH)):
        if provider:
            asked = await erase_there_first.erase_all(resources, ids, actor)
        else:
            asked = Asked(erased=await erase_again(resources, ids, actor))
        done = asked.erased
        yield Progress(
            len(done.now),
            len(done.before),
            len(done.unknown),
            len(asked.pending),
            tuple((subject.id, subject.state) for subject in done.unfinished),
        )


def _others(found: Sequence[Candidate], taken: Sequence[Candidate], erased: int) -> Progress:
    """What there is to say of those that are not taken now."""
    unfinished = tuple((subject.id, subject.state) for subject in found if not subject.finished)
    before = sum(subject.erased for subject in found) - sum(subject.erased for subject in taken)
    return Progress(erased, before, unfinished=unfinished)


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
