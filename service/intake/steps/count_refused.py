"""Counting the requests to create a subject that are refused, for their account's usage."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from service.intake.domain.create_request import CreateRequest
from service.kit.errors import CallsheetError, Invalid
from service.resources import Resources

T = TypeVar("T")


def counted(
    resources: Resources, account_id: str, parse: Callable[[object], T]
) -> Callable[[object], T]:
    """`parse`, which makes something of a request's JSON, and counts the request where it is
    Invalid."""

    def parse_and_count(body: object) -> T:
        try:
            return parse(body)
        except Invalid:
            resources.refusals.count(account_id, body, resources.clock())
            raise

    return parse_and_count


def count_items(
    resources: Resources,
    account_id: str,
    bodies: Sequence[object],
    validated: Sequence[CreateRequest | CallsheetError],
) -> None:
    """Count the requests of a batch that are Invalid, each by itself."""
    for body, result in zip(bodies, validated, strict=True):
        if isinstance(result, Invalid):
            resources.refusals.count(account_id, body, resources.clock())
