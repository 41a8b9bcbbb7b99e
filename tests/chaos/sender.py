"""A second sender of callbacks beside the provider: true, repeated, contradicting, forged."""

import asyncio
import hashlib
import random
import secrets
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson

from service.callbacks.domain.url_tokens import SEPARATOR, callback_token
from service.kit.crypto import webhook_signatures
from service.kit.crypto.encryption import Encryptor
from service.kit.crypto.key_formats import parse_whsec
from tests.chaos.world import RETRY_INTERVAL, FlakyReceiver, RunningService, until

OPPOSITE = {"succeed": "failed", "failed": "succeed"}
STALE_SECONDS = 900  # seconds; three times the tolerance of rule P74
MAX_PAUSE = 0.05  # seconds between two of one sender's callbacks, at most


@dataclass(frozen=True, slots=True)
class OutgoingCallback:
    """A callback as it is posted; only the provider could have written a `genuine` one."""

    kind: str
    id: str
    body: bytes
    address: str
    headers: Mapping[str, str]
    genuine: bool


@dataclass(frozen=True, slots=True)
class PostedCallback:
    """One attempt: what went out, and the status that came back; None without an answer."""

    kind: str
    id: str
    sha256: str
    genuine: bool
    answer: int | None


class CallbackSender:
    """Sends callbacks about subjects whose events were received: those are committed."""

    def __init__(self, world: RunningService, receiver: FlakyReceiver, rng: random.Random) -> None:
        env = world.stack.env
        encryptor = Encryptor(b64decode(env["CALLSHEET_SECRET_KEY"]), secrets.token_bytes)
        self._address_key = encryptor.derive("callback addresses")
        self._key = parse_whsec(env["CALLSHEET_WEBHOOK_SECRETS"])
        self._world, self._receiver, self._rng = world, receiver, rng
        self._sent: list[OutgoingCallback] = []
        self._ids_used_by_forgeries: list[str] = []  # forged before their true message is written
        self.posted: list[PostedCallback] = []
        self.writers: dict[str, Callable[[], Awaitable[OutgoingCallback | None]]] = {
            "true": self._true,
            "true, to no address": self._without_address,
            "again": self._again,
            "again, by another id": self._again_with_new_id,
            "contradicting": self._contradicting,
            "astray": self._to_wrong_address,
            "unknown": self._unknown,
            "forged": self._forged,
            "forged under a true id": self._forged_id,
            "too old": self._stale,
            "forged address": self._with_forged_address,
        }

    async def wait_for_more(self, count: int) -> None:
        """Wait until `count` more have been answered 200."""
        least = self._answered_200() + count

        async def is_enough() -> bool:
            return self._answered_200() >= least

        await until(is_enough)

    def _answered_200(self) -> int:
        return sum(callback.answer == 200 for callback in self.posted)

    async def send_until_cancelled(self) -> None:
        while True:
            callback = await self.writers[self._rng.choice(list(self.writers))]()
            if callback is not None:
                await self._send(callback, patient=self._rng.random() < 0.5)
            await asyncio.sleep(self._rng.uniform(0, MAX_PAUSE))

    async def _send(self, callback: OutgoingCallback, *, patient: bool) -> None:
        """Once; if `patient`, until it is answered for good."""
        while await self._post(callback) in {None, 503}:
            await asyncio.sleep(RETRY_INTERVAL)
            if not patient:
                return

    async def _post(self, callback: OutgoingCallback) -> int | None:
        answer: int | None = None
        try:
            got = await self._world.http.post(
                f"/callbacks{callback.address}", content=callback.body, headers=callback.headers
            )
            answer = got.status_code
        except httpx.TransportError:
            pass
        digest = hashlib.sha256(callback.body).hexdigest()
        self.posted.append(
            PostedCallback(callback.kind, callback.id, digest, callback.genuine, answer)
        )
        return answer

    async def _true(self) -> OutgoingCallback | None:
        known = await self._known()
        return known and self._genuine("true", known[1], self._address(known[0]))

    async def _without_address(self) -> OutgoingCallback | None:
        known = await self._known()
        return known and self._genuine("true, to no address", known[1], "")

    async def _again(self) -> OutgoingCallback | None:
        return replace(self._rng.choice(self._sent), kind="again") if self._sent else None

    async def _again_with_new_id(self) -> OutgoingCallback | None:
        if not self._sent:
            return None
        old = self._rng.choice(self._sent)
        return self._signed("again, by another id", old.body, old.address)

    async def _contradicting(self) -> OutgoingCallback | None:
        """Only about a subject that has ended: before that it would be a valid update."""
        known = await self._known(ended=True)
        if known is None:
            return None
        return self._genuine("contradicting", self._wrong_record(known[1]), self._address(known[0]))

    async def _to_wrong_address(self) -> OutgoingCallback | None:
        """About one subject, to another's address."""
        known, other = await self._known(), await self._known()
        if known is None or other is None or known[0] == other[0]:
            return None
        return self._genuine("astray", self._wrong_record(known[1]), self._address(other[0]))

    async def _unknown(self) -> OutgoingCallback | None:
        task = str(self._rng.randrange(10**17, 10**18))
        return self._genuine("unknown", {"task_id": task, "task_status": "processing"}, "")

    async def _forged(self) -> OutgoingCallback | None:
        return await self._with_wrong_end("forged", key=secrets.token_bytes(32))

    async def _forged_id(self) -> OutgoingCallback | None:
        """Forged under the id of a message that was sent, or that is sent later."""
        message_id = self._new_id()
        if self._sent and self._rng.random() < 0.5:
            message_id = self._rng.choice(self._sent).id
        else:
            self._ids_used_by_forgeries.append(message_id)
        key = secrets.token_bytes(32)
        return await self._with_wrong_end("forged under a true id", key=key, message_id=message_id)

    async def _stale(self) -> OutgoingCallback | None:
        return await self._with_wrong_end("too old", age=STALE_SECONDS)

    async def _with_forged_address(self) -> OutgoingCallback | None:
        """The id of a subject with the token of another."""
        callback = await self._with_wrong_end("forged address")
        if callback is None:
            return None
        name = callback.address.rpartition(SEPARATOR)[0]
        vouched = self._address(f"sub_{self._new_id()}").rpartition(SEPARATOR)[2]
        return replace(callback, address=name + SEPARATOR + vouched)

    async def _with_wrong_end(
        self, kind: str, *, key: bytes | None = None, message_id: str | None = None, age: int = 0
    ) -> OutgoingCallback | None:
        """A callback with an end that is not the subject's, and must be refused."""
        known = await self._known()
        if known is None:
            return None
        body, address = orjson.dumps(self._wrong_record(known[1])), self._address(known[0])
        callback = self._signed(kind, body, address, key=key, message_id=message_id, age=age)
        return replace(callback, genuine=False)

    async def _known(self, *, ended: bool = False) -> tuple[str, dict[str, Any]] | None:
        """A subject that the provider has, and the provider's record of it."""
        name = "finished_at" if ended else "provider_task_id"
        known = [
            subject_id
            for subject_id, subject in self._receiver.last_states.items()
            if subject[name]
        ]
        if not known:
            return None
        chosen = self._rng.choice(known)
        return chosen, await self._world.provider_records(f"/{chosen}")

    def _wrong_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with the opposite end, or with any end if the task has not ended."""
        status = OPPOSITE.get(record["task_status"]) or self._rng.choice(list(OPPOSITE))
        element = {"element_id": self._rng.randrange(10**17, 10**18), "element_name": "Nobody"}
        wrong = {**record, "task_status": status, "updated_at": record["updated_at"] + 1}
        wrong["task_result"] = {"elements": [element] if status == "succeed" else []}
        return wrong

    def _genuine(self, kind: str, record: Mapping[str, Any], address: str) -> OutgoingCallback:
        message_id = self._ids_used_by_forgeries.pop() if self._ids_used_by_forgeries else None
        callback = self._signed(kind, orjson.dumps(record), address, message_id=message_id)
        self._sent.append(callback)
        return callback

    def _signed(  # noqa: PLR0913 - what a forger can vary
        self,
        kind: str,
        body: bytes,
        address: str,
        *,
        key: bytes | None = None,
        message_id: str | None = None,
        age: int = 0,
    ) -> OutgoingCallback:
        message_id = message_id or self._new_id()
        at = int(time.time()) - age
        headers = webhook_signatures.signature_headers([key or self._key], message_id, at, body)
        return OutgoingCallback(kind, message_id, body, address, headers, genuine=True)

    def _address(self, subject_id: str) -> str:
        return "/" + callback_token(self._address_key, subject_id)

    def _new_id(self) -> str:
        return f"msg_{self._rng.getrandbits(64):016x}"
