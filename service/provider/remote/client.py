"""The client of the provider: one call, one value that says what came of it; nothing is raised.

Paths, sign-in and codes are those of service/provider/README.md, rules P1 to P9 and P40 to P64.
A create whose outcome is not known is Unknown, never a failure: the task may exist.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from urllib.parse import quote

import aiohttp
import orjson

from service.kit.errors import Malformed
from service.kit.network.bounded_http import HEAD_LIMITS
from service.kit.network.exact_urls import exact_url
from service.kit.text import clean_text
from service.kit.timestamps import parse_retry_after
from service.provider.domain.requests import PATH
from service.provider.domain.task_reports import TaskReport, parse_json_object, read_task_record
from service.provider.remote.credentials import ApiKey, BearerToken, KeyPair
from service.provider.remote.lenient_parsing import decompress, log_excerpt, read_code
from service.provider.remote.outcomes import (
    Accepted,
    AlreadyExists,
    CodeAction,
    CreateOutcome,
    LookUpOutcome,
    OutcomeUnknown,
    ProviderStopped,
    Refused,
    RetryLater,
    TaskFound,
    TaskNotFound,
    UnreadableResponse,
    action_for_code,
)

MAX_RESPONSE_BYTES = 1_000_000  # bytes, as it came and unpacked
MAX_CONNECTIONS = 64
MAX_CONNECT_SECONDS = 5.0  # seconds to connect, and never more than half of the whole time
KEEPALIVE_SECONDS = (
    3.0  # seconds; common servers hang up after 5, and a create sent then is in doubt
)
MAX_RETRY_AFTER_SECONDS = 300.0  # seconds
PARALLEL_LIMIT_CODE = 1303
MIN_PARALLEL_LIMIT_WAIT = 1.0  # seconds, at least; rule P56
INVALID_PARAMETERS_CODE = 1201
EXPIRED_TOKEN_CODES = frozenset({1003, 1004})  # not yet valid, expired: rule P47


@dataclass(frozen=True, slots=True)
class _Envelope:
    """`{code, message, request_id, data?}`, and the header that goes with it. `content` is all
    of it, unpacked."""

    code: int
    message: str
    data: object
    retry_after: float
    content: bytes


class ProviderClient:
    """Calls the provider at `url`. `timeout` is in seconds and bounds a whole call.

    `clock` gives the aware time of now, for tokens and for a Retry-After that is a date.
    """

    def __init__(
        self,
        url: str,
        credentials: ApiKey | KeyPair,
        timeout: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._url = url.rstrip("/") + PATH
        self._token = BearerToken(credentials, clock)
        self._clock = clock
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        """Made at the first call: aiohttp wants a running loop."""
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
        """Post a task. Never sent twice by itself, except after a refused token."""
        answer = await self._ask("POST", self._url, orjson.dumps(dict(body)))
        if not isinstance(answer, _Envelope):
            return answer
        if answer.code == 0:
            report = self._report(answer, body.get("external_task_id"))
            return Accepted(report) if isinstance(report, TaskReport) else report
        if answer.code == INVALID_PARAMETERS_CODE and "already exists" in answer.message.casefold():
            return AlreadyExists(answer.message)
        return _outcome_of_code(answer) or Refused(answer.code, answer.message)

    async def look_up(self, task_id: str) -> LookUpOutcome:
        """Ask for one task by the provider's id or by ours."""
        answer = await self._ask("GET", f"{self._url}/{quote(task_id, safe='')}")
        if not isinstance(answer, _Envelope):
            return answer
        if answer.code == 0:
            report = self._report(answer, task_id)
            return TaskFound(report) if isinstance(report, TaskReport) else report
        if answer.code == INVALID_PARAMETERS_CODE and "not found" in answer.message.casefold():
            return TaskNotFound(answer.message)
        return _outcome_of_code(answer) or _unknown_outcome(answer)

    async def _ask(
        self, method: str, url: str, content: bytes | None = None
    ) -> _Envelope | RetryLater | OutcomeUnknown:
        """One call, within the time; a second one if the token, and so the first, was refused."""
        try:
            async with asyncio.timeout(self._timeout):
                token = self._token.value()
                answer = await self._exchange(method, url, content, token)
                if isinstance(answer, _Envelope) and answer.code in EXPIRED_TOKEN_CODES:
                    fresh = self._token.renew(token)
                    if fresh is not None:
                        answer = await self._exchange(method, url, content, fresh)
                return answer
        except TimeoutError:
            return OutcomeUnknown(f"no whole answer within {self._timeout:g} s")

    async def _exchange(
        self, method: str, url: str, content: bytes | None, token: str
    ) -> _Envelope | RetryLater | OutcomeUnknown:
        headers = {"authorization": f"Bearer {token}"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            async with self._client().request(
                method, exact_url(url), data=content, headers=headers, allow_redirects=False
            ) as response:
                return await self._read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            reason = f"the provider could not be reached ({type(error).__name__})"
            return RetryLater(None, reason, 0.0, at_parallel_limit=False)
        except aiohttp.ClientResponseError:
            return UnreadableResponse("an answer nobody can read: it is not HTTP", "")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text stays out: it may repeat what was sent, secrets included.
            return OutcomeUnknown(f"the connection broke ({type(error).__name__})")

    async def _read(self, response: aiohttp.ClientResponse) -> _Envelope | OutcomeUnknown:
        raw = bytearray()
        async for piece in response.content.iter_any():
            raw += piece
            if len(raw) > MAX_RESPONSE_BYTES:
                break
        content, coding = bytes(raw), response.headers.get("content-encoding", "")
        try:
            content = decompress(content, coding, MAX_RESPONSE_BYTES)
            answer = parse_json_object(content)
            code = read_code(answer.get("code"))
        except Malformed as error:
            reason = f"an answer nobody can read (HTTP {response.status}): {error}"
            return UnreadableResponse(reason, self._beginning(content))
        asked = parse_retry_after(response.headers.get("retry-after"), self._clock())
        wait = min(asked or 0.0, MAX_RETRY_AFTER_SECONDS)
        message, data = clean_text(answer.get("message")), answer.get("data")
        return _Envelope(code, message, data, wait, content)

    def _report(self, answer: _Envelope, asked: object) -> TaskReport | OutcomeUnknown:
        """The report on the task that was asked for; Unknown if it is none, or on another."""
        try:
            report = read_task_record(answer.data if isinstance(answer.data, dict) else {})
        except Malformed as error:
            reason = f"success, but with a record nobody can read: {error}"
            return UnreadableResponse(reason, self._beginning(answer.content))
        if report.external_task_id is None or asked in (
            report.external_task_id,
            report.provider_task_id,
        ):
            return report
        return OutcomeUnknown("success, but on another task than was asked for", was_readable=True)

    def _beginning(self, content: bytes) -> str:
        return log_excerpt(self._token.redact(content.decode(errors="replace")))


def _outcome_of_code(answer: _Envelope) -> RetryLater | ProviderStopped | OutcomeUnknown | None:
    """What a code other than 0 means whatever was asked; None for a refusal."""
    asked_for = action_for_code(answer.code)
    match asked_for:
        case CodeAction.STOP:
            return ProviderStopped(answer.code, answer.message)
        case CodeAction.DEFER:
            parallel = answer.code == PARALLEL_LIMIT_CODE
            wait = max(answer.retry_after, MIN_PARALLEL_LIMIT_WAIT if parallel else 0.0)
            return RetryLater(answer.code, answer.message, wait, parallel)
        case CodeAction.LOOK_UP:
            return _unknown_outcome(answer)
        case CodeAction.REFUSE:
            return None
        case _:
            assert_never(asked_for)


def _unknown_outcome(answer: _Envelope) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the provider answered {answer.code}: {answer.message}", was_readable=True
    )
