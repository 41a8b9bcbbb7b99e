"""The client of the provider's API: each call gives one outcome as a value, and raises nothing.

Paths, sign-in and error codes are those of service/provider/README.md, rules P1 to P9 and P40 to
P66. A create whose outcome is not known is OutcomeUnknown, never a failure: the task may exist.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import TypeVar, assert_never, get_args
from urllib.parse import quote

import aiohttp
import orjson

from service.kit.errors import Malformed
from service.kit.network.bounded_http import HEAD_LIMITS
from service.kit.network.exact_urls import exact_url
from service.kit.text import clean_text
from service.kit.timestamps import parse_retry_after
from service.metrics import PROVIDER_REQUEST_DURATION, PROVIDER_REQUESTS
from service.provider.domain.requests import DELETE_PATH, PATH
from service.provider.domain.task_reports import TaskReport, parse_json_object, read_task_record
from service.provider.remote.credentials import BearerToken, ProviderApiKey, ProviderKeyPair
from service.provider.remote.error_codes import (
    INVALID_PARAMETERS_CODE,
    CodeAction,
    action_for_code,
    says_no_element,
)
from service.provider.remote.lenient_parsing import (
    decompress,
    log_excerpt,
    read_code,
    read_request_id,
)
from service.provider.remote.outcomes import (
    AlreadyExists,
    AnswerHead,
    CreateOutcome,
    DeleteOutcome,
    ElementDeleted,
    ElementNotFound,
    ListOutcome,
    LookUpOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskAccepted,
    TaskFound,
    TaskNotFound,
    TasksListed,
    UnreadableResponse,
)

MAX_RESPONSE_BYTES = 1_000_000  # as it came, and decompressed
MAX_LIST_BYTES = 16_000_000  # the same of a page of tasks, 500 at most (rule P4)
MAX_CONNECTIONS = 64
MAX_CONNECT_SECONDS = 5.0  # and never more than half of the whole timeout
KEEPALIVE_SECONDS = 3.0  # common servers hang up after 5, and a create sent then would be lost
MAX_RETRY_AFTER_SECONDS = 300.0  # rule P94
PARALLEL_LIMIT_CODE = 1303  # rule P56
MIN_PARALLEL_LIMIT_WAIT = 1.0  # seconds; rule P56
EXPIRED_TOKEN_CODES = frozenset({1003, 1004})  # rule P47

T = TypeVar("T")

_OPERATIONS: Mapping[str, tuple[type, ...]] = {  # with what may come of each
    "create": (*get_args(CreateOutcome), UnreadableResponse),
    "look_up": (*get_args(LookUpOutcome), UnreadableResponse),
    "delete": (*get_args(DeleteOutcome), UnreadableResponse),
    "list": (*get_args(ListOutcome), UnreadableResponse),
}
_DURATIONS = {name: PROVIDER_REQUEST_DURATION.labels(name) for name in _OPERATIONS}
# The label is the outcome's class, `task_accepted` for TaskAccepted.
_OUTCOMES = {
    (name, outcome): PROVIDER_REQUESTS.labels(
        name, re.sub(r"(?<!^)(?=[A-Z])", "_", outcome.__name__).lower()
    )
    for name, outcomes in _OPERATIONS.items()
    for outcome in outcomes
}


@dataclass(frozen=True, slots=True)
class _Envelope:
    """An answer that could be read (rule P6)."""

    head: AnswerHead  # it without its data
    data: object  # as it came; None: it has none
    retry_after: float  # seconds, from the header; 0: it has none
    content: bytes  # the whole body, decompressed


class ProviderClient:
    """Calls the provider at `url` with an API key or JWTs.

    `timeout` is in seconds and bounds a whole call. `clock` gives the aware time of now, for tokens
    and for a Retry-After that is a date.
    """

    def __init__(
        self,
        url: str,
        credentials: ProviderApiKey | ProviderKeyPair,
        timeout: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._url = url.rstrip("/") + PATH
        self._delete_url = url.rstrip("/") + DELETE_PATH
        self._token = BearerToken(credentials, clock)
        self._clock = clock
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        """The session, opened at the first call: aiohttp needs a running loop."""
        if self._session is None:
            connect = min(MAX_CONNECT_SECONDS, self._timeout / 2)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS
                ),
                timeout=aiohttp.ClientTimeout(total=None, connect=connect),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                **HEAD_LIMITS,
            )
        return self._session

    async def create(self, body: Mapping[str, object]) -> CreateOutcome:
        """Create a task. The request is repeated after a refused token alone (rule P42)."""
        return await _measured("create", self._create(body))

    async def look_up(self, task_id: str) -> LookUpOutcome:
        """Query one task by the provider's id or by ours."""
        return await _measured("look_up", self._look_up(task_id))

    async def delete(self, element_id: str) -> DeleteOutcome:
        """Delete an element by the provider's id of it (rule P5)."""
        return await _measured("delete", self._delete(element_id))

    async def list_tasks(self, number: int, size: int) -> ListOutcome:
        """A page of the account's own tasks, of which the first is number 1 (rule P4)."""
        return await _measured("list", self._list_tasks(number, size))

    async def _create(self, body: Mapping[str, object]) -> CreateOutcome:
        answer = await self._call("POST", self._url, orjson.dumps(dict(body)))
        if not isinstance(answer, _Envelope):
            return answer
        return replace(self._created(answer, body), head=answer.head)

    def _created(self, answer: _Envelope, body: Mapping[str, object]) -> CreateOutcome:
        if answer.head.code == 0:
            report = self._read_report(answer, body.get("external_task_id"))
            return TaskAccepted(report) if isinstance(report, TaskReport) else report
        if (
            answer.head.code == INVALID_PARAMETERS_CODE
            and "already exists" in answer.head.message.casefold()
        ):
            return AlreadyExists(answer.head.message)
        return _outcome_of_code(answer) or Refused(answer.head.code, answer.head.message)

    async def _look_up(self, task_id: str) -> LookUpOutcome:
        answer = await self._call("GET", f"{self._url}/{quote(task_id, safe='')}")
        if not isinstance(answer, _Envelope):
            return answer
        return replace(self._looked_up(answer, task_id), head=answer.head)

    def _looked_up(self, answer: _Envelope, task_id: str) -> LookUpOutcome:
        if answer.head.code == 0:
            report = self._read_report(answer, task_id)
            return TaskFound(report) if isinstance(report, TaskReport) else report
        if (
            answer.head.code == INVALID_PARAMETERS_CODE
            and "not found" in answer.head.message.casefold()
        ):
            return TaskNotFound(answer.head.message)
        return _outcome_of_code(answer) or _unknown_outcome(answer)

    async def _delete(self, element_id: str) -> DeleteOutcome:
        body = orjson.dumps({"element_id": element_id})
        answer = await self._call("POST", self._delete_url, body)
        if not isinstance(answer, _Envelope):
            return answer
        if answer.head.code == 0:
            return ElementDeleted()
        if says_no_element(answer.head.code, answer.head.message):
            return ElementNotFound(answer.head.message)
        return _outcome_of_code(answer) or Refused(answer.head.code, answer.head.message)

    async def _list_tasks(self, number: int, size: int) -> ListOutcome:
        url = f"{self._url}?pageNum={number}&pageSize={size}"
        answer = await self._call("GET", url, max_bytes=MAX_LIST_BYTES)
        if not isinstance(answer, _Envelope):
            return answer
        if answer.head.code != 0:
            return _outcome_of_code(answer) or _unknown_outcome(answer)
        if not isinstance(answer.data, list):
            return UnreadableResponse("success, but without a list", self._excerpt(answer.content))
        return TasksListed(_readable_reports(answer.data), len(answer.data))

    async def _call(
        self,
        method: str,
        url: str,
        content: bytes | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> _Envelope | RetryLater | OutcomeUnknown:
        """Make one call within the timeout; a second one if the token, and so the first call, was
        refused."""
        try:
            async with asyncio.timeout(self._timeout):
                token = self._token.value()
                answer = await self._exchange(method, url, content, token, max_bytes)
                if isinstance(answer, _Envelope) and answer.head.code in EXPIRED_TOKEN_CODES:
                    renewed = self._token.renew(token)
                    if renewed is not None:
                        answer = await self._exchange(method, url, content, renewed, max_bytes)
                return answer
        except TimeoutError:
            return OutcomeUnknown(f"no whole answer within {self._timeout:g} s")

    async def _exchange(
        self, method: str, url: str, content: bytes | None, token: str, max_bytes: int
    ) -> _Envelope | RetryLater | OutcomeUnknown:
        """Send one request and read its answer: rule P62."""
        headers = {"authorization": f"Bearer {token}"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            async with self._client().request(
                method, exact_url(url), data=content, headers=headers, allow_redirects=False
            ) as response:
                return await self._read_envelope(response, max_bytes)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            reason = f"the provider could not be reached ({type(error).__name__})"
            return RetryLater(None, reason, 0.0, at_parallel_limit=False)
        except aiohttp.ClientResponseError:
            return UnreadableResponse("an answer nobody can read: it is not HTTP", "")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text stays out: it may repeat what was sent, secrets included.
            return OutcomeUnknown(f"the connection broke ({type(error).__name__})")

    async def _read_envelope(
        self, response: aiohttp.ClientResponse, max_bytes: int
    ) -> _Envelope | OutcomeUnknown:
        raw = bytearray()
        async for piece in response.content.iter_any():
            raw += piece
            if len(raw) > max_bytes:
                break
        content, encoding = bytes(raw), response.headers.get("content-encoding", "")
        try:
            content = decompress(content, encoding, max_bytes)
            members = parse_json_object(content)
            code = read_code(members.get("code"))
        except Malformed as error:
            reason = f"an answer nobody can read (HTTP {response.status}): {error}"
            return UnreadableResponse(reason, self._excerpt(content))
        wait = parse_retry_after(response.headers.get("retry-after"), self._clock()) or 0.0
        request_id = read_request_id(members.get("request_id"))
        head = AnswerHead(response.status, code, request_id, clean_text(members.get("message")))
        return _Envelope(head, members.get("data"), min(wait, MAX_RETRY_AFTER_SECONDS), content)

    def _read_report(self, answer: _Envelope, task_id: object) -> TaskReport | OutcomeUnknown:
        """Read a success: the report on the task with this id, the provider's or ours."""
        try:
            report = read_task_record(answer.data if isinstance(answer.data, dict) else {})
        except Malformed as error:
            reason = f"success, but with a record nobody can read: {error}"
            return UnreadableResponse(reason, self._excerpt(answer.content))
        if report.external_task_id in (None, task_id) or report.provider_task_id == task_id:
            return report
        return OutcomeUnknown("success, but on another task than was asked for", was_readable=True)

    def _excerpt(self, content: bytes) -> str:
        return log_excerpt(self._token.redact(content.decode(errors="replace")))


def _readable_reports(records: Iterable[object]) -> list[TaskReport]:
    reports = []
    for record in records:
        with suppress(Malformed):
            reports.append(read_task_record(record if isinstance(record, dict) else {}))
    return reports


async def _measured(operation: str, call: Awaitable[T]) -> T:
    """Make a call; what came of it, and how long it took, are counted. What is canceled is not."""
    started = perf_counter()
    outcome = await call
    _DURATIONS[operation].observe(perf_counter() - started)
    _OUTCOMES[operation, type(outcome)].inc()
    return outcome


def _outcome_of_code(answer: _Envelope) -> RetryLater | ProviderStopped | OutcomeUnknown | None:
    """The outcome by a code other than 0, for any call; None if the call was refused."""
    action = action_for_code(answer.head.code)
    match action:
        case CodeAction.STOP:
            return ProviderStopped(answer.head.code, answer.head.message)
        case CodeAction.DEFER:
            at_limit = answer.head.code == PARALLEL_LIMIT_CODE
            wait = max(answer.retry_after, MIN_PARALLEL_LIMIT_WAIT if at_limit else 0.0)
            return RetryLater(answer.head.code, answer.head.message, wait, at_limit)
        case CodeAction.LOOK_UP:
            return _unknown_outcome(answer)
        case CodeAction.REFUSE:
            return None
        case _:
            assert_never(action)


def _unknown_outcome(answer: _Envelope) -> OutcomeUnknown:
    reason = f"the provider answered {answer.head.code}: {answer.head.message}"
    return OutcomeUnknown(reason, was_readable=True)
