"""Taking requests in: each checked whole, then all that came together in one transaction, then a
wake."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from service.core import durations
from service.core.errors import CallsheetError, Finding, Invalid, NotFound, Unavailable
from service.core.request_rules import check
from service.core.targets import check_url
from service.steps.enter import Accepted, Case, Outcome, Wish, enter
from service.steps.resources import Resources
from service.store import accounts

log = structlog.get_logger()

MAX_KEY = 255  # characters; the usual bound of such headers
MOST_BESIDE = 2  # findings about what is asked beside a body
MOST = 100  # requests of one batch; ours
MAX_KEY_OF_MANY = MAX_KEY - len(f"/{MOST}")  # as each of a batch has a key of its own from it


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and what is said beside the body: an idempotency key, how long it may take as in
    the header Cancel-After, and whether it must be `new` (see Wish)."""

    account_id: str
    key: object = None
    cancel_after: str | None = None
    new: bool = False

    def read(self, most: float, longest_key: int = MAX_KEY) -> tuple[float | None, list[Finding]]:
        """The seconds that it may take, up to `most`, and what is wrong with any of it."""
        seconds, findings = None, []
        if self.key is not None and not _is_key(self.key, longest_key):
            message = f"Idempotency-Key is 1 to {longest_key} printable ASCII characters"
            findings.append(Finding("", "idempotency_key", message))
        if self.cancel_after is not None:
            try:
                seconds = durations.read(self.cancel_after, most)
            except ValueError as error:
                findings.append(Finding("", "cancel_after", f"Cancel-After {error}"))
        return seconds, findings


def read(resources: Resources, asked: Asked, body: object) -> Wish:
    """What is asked for; Invalid with every broken rule. Nothing is waited for."""
    settings = resources.settings
    seconds, findings = asked.read(settings.task_deadline)
    try:
        request = check(
            body, voice_for_images=settings.voice_for_images, ports=settings.allowed_ports
        )
    except Invalid as error:
        raise Invalid([*findings, *error.findings]) from None
    if request.callback_url is not None:
        findings += callback_url_errors(resources, request.callback_url)
    if findings:
        raise Invalid(findings)
    key = None if asked.key is None else str(asked.key)
    return Wish(asked.account_id, request, key, seconds, asked.new)


def callback_url_errors(resources: Resources, url: str) -> list[Finding]:
    """Why a callback_url may not be called, as far as its text says: a name is judged each time it
    is dialled. The provider takes http too, and so do those who only change its base URL."""
    return check_url(
        url,
        pointer="/callback_url",
        https_only=False,
        allowed=resources.settings.allowed_private_targets,
        ports=resources.settings.allowed_ports,
    )


def read_many(
    resources: Resources, asked: Asked, bodies: Sequence[object]
) -> list[Wish | CallsheetError]:
    """What each of them asks for, or all that is wrong with it; the n-th, from 0, under the key
    with `/n` after it. Invalid where what is asked beside them breaks a rule."""
    _, findings = asked.read(resources.settings.task_deadline, MAX_KEY_OF_MANY)
    if findings:
        raise Invalid(findings)
    return [_read_one(resources, asked, number, body) for number, body in enumerate(bodies)]


def _read_one(
    resources: Resources, asked: Asked, number: int, body: object
) -> Wish | CallsheetError:
    part = None if asked.key is None else f"{asked.key}/{number}"
    try:
        return read(resources, replace(asked, key=part), body)
    except Invalid as error:
        return Invalid(error.findings)  # without its frames, which hold the body


def _is_key(key: object, longest: int) -> bool:
    return isinstance(key, str) and 0 < len(key) <= longest and key.isascii() and key.isprintable()


async def accept(
    resources: Resources, account_id: str, body: object, idempotency_key: object = None
) -> Accepted:
    """Queue a subject; the same request again gives the same subject.

    Invalid with every broken rule; Conflict if the key or the external id stands for another
    request; TooMany if the queue is full. When this returns, subject, event and deliveries are
    committed.
    """
    wish = read(resources, Asked(account_id, idempotency_key), body)
    (outcome,) = await accept_all(resources, [wish])
    if isinstance(outcome, CallsheetError):
        raise outcome
    return outcome


async def accept_for(
    resources: Resources, account: object, body: object, idempotency_key: object
) -> Accepted:
    """The same for an account by name, on behalf of a back end on our own Redis."""
    account_id = None
    if isinstance(account, str) and account.isprintable():
        async with resources.database.glance() as tx:
            account_id = await accounts.by_name(tx, account)
    if account_id is None:
        raise NotFound("there is no account of this name")
    return await accept(resources, account_id, body, idempotency_key)


async def accept_all(resources: Resources, wishes: Sequence[Wish]) -> list[Outcome]:
    """What becomes of each, in one transaction. Of several with one key the later ones follow the
    first; should it be refused, they are decided by themselves after it."""
    cases = [Case(resources, wish) for wish in wishes]
    waiting = await _round(resources, cases)
    while waiting:
        # The others are committed: theirs must not be told what breaks this off, nor be made anew.
        try:
            waiting = await _round(resources, waiting)
        except Unavailable as error:
            return _outcomes(cases, error)
        except Exception:
            log.exception("intake", action="fault")
            break
    return _outcomes(cases, Unavailable())


def _outcomes(cases: Sequence[Case], error: Unavailable) -> list[Outcome]:
    """What became of each; the error where it was not decided."""
    return [case.outcome or error for case in cases]


async def _round(resources: Resources, cases: Sequence[Case]) -> list[Case]:
    """Decide the first of each key, and give those that could not follow it."""
    leaders: dict[object, Case] = {}
    for case in cases:
        leaders.setdefault(case.wish.keyed or case, case)
    await enter(resources, list(leaders.values()))
    followers = [case for case in cases if case is not leaders[case.wish.keyed or case]]
    return [case for case in followers if not case.follow(leaders[case.wish.keyed or case])]
