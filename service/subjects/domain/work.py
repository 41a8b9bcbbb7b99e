"""Kinds of work, which workers are notified of. What is due, and whose turn, is in Postgres."""

from collections.abc import Collection
from enum import StrEnum

from service.subjects.domain.lifecycle import WITH_PROVIDER, State


class Work(StrEnum):
    """A kind of work; the values are the payloads of notifications."""

    CHECK_MEDIA = "check_media"
    SUBMIT = "submit"
    RECONCILE = "reconcile"
    DELIVER = "deliver"
    OPERATE = "operate"
    ERASE = "erase"


def work_after(before: State, after: State) -> set[Work]:
    """What a transition of a subject gives to do, beside deliveries: to submit another once it is
    not with the provider any more, and to ask the provider about it where nobody knows that."""
    work = set()
    if before in WITH_PROVIDER and after not in WITH_PROVIDER:
        work.add(Work.SUBMIT)
    if after is State.UNCONFIRMED:
        work.add(Work.RECONCILE)
    return work


def encode_work(work: Collection[Work]) -> str:
    """The payload that names kinds of work: with commas between them, always in the same order, as
    Postgres sends equal notifications of one transaction once."""
    return ",".join(kind for kind in Work if kind in work)


def decode_work(payload: str) -> list[Work]:
    """The kinds of work that a payload names; all of them, if it is empty. Others, which a newer
    release may have, are passed over."""
    named = payload.split(",") if payload else list(Work)
    return [kind for kind in Work if kind in named]
