"""The rules for a bulk operation as it is asked for: which fields it has, and what may stand in
them. Every broken rule is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from service.accounts.steps.api_keys import MAX_ACCOUNT_NAME
from service.delivery.domain.delivery_state import ENDED, DeliveryState
from service.delivery.steps.replay import read_boolean, read_kind
from service.intake.domain.request_rules import TAGS, external_id
from service.kit import validation
from service.kit.validation import Reader, ValidationContext
from service.operations.domain.operation import OperationKind
from service.subjects.domain.lifecycle import State
from service.subscribers.domain.subscriber_rules import RATE_RANGE, number_between

ID_LENGTH = range(1, 101)  # characters of an id in a filter
ACCOUNT_LENGTH = range(1, MAX_ACCOUNT_NAME + 1)  # likewise of an account's name


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """A bulk operation as it was asked for."""

    what: OperationKind  # what is done to each
    account: str | None  # the name of the account whose items alone; None: every account's
    filter: dict[str, str]  # which of them, without the account; times in RFC 3339
    cut_off: datetime  # what came later is left alone
    rate: float | None  # items a second; None: as fast as it goes
    dry_run: bool  # whether they are only counted


def validate_operation(body: object, now: datetime) -> OperationRequest:
    """The operation that a JSON body asks for, of what is there now if it does not say; Invalid
    with every error in it."""
    context = ValidationContext()
    given = validation.body_fields(context, body, FIELDS)
    validation.require(context, "", given, ("what", "filter"))
    read = validation.read_fields(context, given, READERS)
    what = read.get("what")
    if what is not None and "filter" in given:
        read["filter"] = _filter(context, what, given["filter"])
    cut_off = read.get("cut_off") or now
    if cut_off > now:
        context.add_error("/cut_off", "in_the_future", "must not be later than now")
    if what is OperationKind.REPLAY and "filter" in read:
        _check_window(context, read["filter"], cut_off)
    context.raise_errors()
    filter_ = {name: _text(value) for name, value in read["filter"].items()}
    account = filter_.pop("account", None)
    dry_run = read.get("dry_run", False)
    return OperationRequest(read["what"], account, filter_, cut_off, read.get("rate"), dry_run)


def _filter(context: ValidationContext, what: OperationKind, value: object) -> dict[str, object]:
    """The fields of a filter, each as its reader returns it; an empty one if it is no object."""
    readers = FILTERS[what]
    given = validation.object_fields(context, "/filter", value, readers) or {}
    if isinstance(value, dict):
        validation.require(context, "/filter", given, REQUIRED.get(what, ()))
    read = {name: readers[name](context, f"/filter/{name}", it) for name, it in given.items()}
    narrow = read.get("state") == DeliveryState.DEAD or read.keys() & {"subscriber_id", "event_id"}
    if what is OperationKind.RESEND and isinstance(value, dict) and not narrow:
        rule = "must be dead, unless subscriber_id or event_id is given"
        context.add_error("/filter/state", "too_wide", rule)
    return read


def _check_window(context: ValidationContext, window: dict[str, object], cut_off: datetime) -> None:
    """A replay looks at what came before its cut-off, whatever it asks for."""
    since, until = window.get("since"), window.get("until", cut_off)
    if isinstance(since, datetime) and isinstance(until, datetime):
        window["until"] = min(until, cut_off)
        if since > min(until, cut_off):
            rule = "must not be after until, which is the cut-off if left out"
            context.add_error("/filter/since", "after_until", rule)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _kind(context: ValidationContext, at: str, value: object) -> OperationKind | None:
    word = validation.one_of(context, at, value, list(OperationKind))
    return None if word is None else OperationKind(word)


def _id(context: ValidationContext, at: str, value: object) -> str | None:
    return validation.ascii_text(context, at, value, ID_LENGTH)


def _account(context: ValidationContext, at: str, value: object) -> str | None:
    return validation.text(context, at, value, ACCOUNT_LENGTH[-1])


def _word_of(words: tuple[str, ...]) -> Callable[[ValidationContext, str, object], str | None]:
    def read(context: ValidationContext, at: str, value: object) -> str | None:
        return validation.one_of(context, at, value, words)

    return read


CREATED: Mapping[str, Reader] = {
    "created_after": validation.time,
    "created_before": validation.time,
}
FILTERS: Mapping[OperationKind, Mapping[str, Reader]] = MappingProxyType(
    {
        OperationKind.RESEND: {
            "account": _account,
            "subscriber_id": _id,
            "event_id": _id,
            "state": _word_of(ENDED),
            **CREATED,
        },
        OperationKind.REPLAY: {
            "account": _account,
            "subscriber_id": _id,
            "since": validation.time,
            "until": validation.time,
            "only": read_kind,
        },
        OperationKind.CANCEL: {
            "account": _account,
            "state": _word_of(tuple(State)),
            "external_task_id": external_id,
            "tag": _word_of(tuple(TAGS)),
            **CREATED,
        },
    }
)
REQUIRED: Mapping[OperationKind, tuple[str, ...]] = MappingProxyType(
    {OperationKind.REPLAY: ("subscriber_id", "since", "only")}
)
READERS: Mapping[str, Reader] = {
    "what": _kind,
    "cut_off": validation.time,
    "rate": number_between(*RATE_RANGE),
    "dry_run": read_boolean,
}
FIELDS = (*READERS, "filter")
