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
    """A callback as it is posted; `genuine` ones only the provider can have written."""

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
    """Writes of those subjects of which the subscriber has heard: what it heard is committed."""

    def __init__(self, world: RunningService, heard: FlakyReceiver, rng: random.Random) -> None:
        env = world.stack.env
        vault = Encryptor(b64decode(env["CALLSHEET_SECRET_KEY"]), secrets.token_bytes)
        self._address_key = vault.derive("callback addresses")
        self._key = parse_whsec(env["CALLSHEET_WEBHOOK_SECRETS"])
        self._world, self._heard, self._rng = world, heard, rng
        self._sent: list[OutgoingCallback] = []
        self._taken_ids: list[str] = []  # forged before their true message is written
        self.posted: list[PostedCallback] = []
        self.writers: dict[str, Callable[[], Awaitable[OutgoingCallback | None]]] = {
            "true": self._true,
            "true, to no address": self._homeless,
            "again": self._again,
            "again, by another id": self._anew,
            "contradicting": self._contradicting,
            "astray": self._astray,
            "unknown": self._unknown,
            "forged": self._forged,
            "forged under a true id": self._forged_id,
            "too old": self._stale,
            "forged address": self._misaddressed,
        }

    async def go_on(self, count: int) -> None:
        """Wait until so many more have got a 200."""
        least = self._promised() + count

        async def is_enough() -> bool:
            return self._promised() >= least

        await until(is_enough)

    def _promised(self) -> int:
        return sum(one.answer == 200 for one in self.posted)

    async def send_for_ever(self) -> None:
        while True:
            letter = await self.writers[self._rng.choice(list(self.writers))]()
            if letter is not None:
                await self._send(letter, patient=self._rng.random() < 0.5)
            await asyncio.sleep(self._rng.uniform(0, MAX_PAUSE))

    async def _send(self, letter: OutgoingCallback, *, patient: bool) -> None:
        """Once; if `patient`, until it is answered for good."""
        while await self._post(letter) in {None, 503}:
            await asyncio.sleep(RETRY_INTERVAL)
            if not patient:
                return

    async def _post(self, letter: OutgoingCallback) -> int | None:
        answer: int | None = None
        try:
            got = await self._world.http.post(
                f"/callbacks{letter.address}", content=letter.body, headers=letter.headers
            )
            answer = got.status_code
        except httpx.TransportError:
            pass
        digest = hashlib.sha256(letter.body).hexdigest()
        self.posted.append(PostedCallback(letter.kind, letter.id, digest, letter.genuine, answer))
        return answer

    async def _true(self) -> OutgoingCallback | None:
        known = await self._known()
        return known and self._genuine("true", known[1], self._address(known[0]))

    async def _homeless(self) -> OutgoingCallback | None:
        known = await self._known()
        return known and self._genuine("true, to no address", known[1], "")

    async def _again(self) -> OutgoingCallback | None:
        return replace(self._rng.choice(self._sent), kind="again") if self._sent else None

    async def _anew(self) -> OutgoingCallback | None:
        if not self._sent:
            return None
        old = self._rng.choice(self._sent)
        return self._signed("again, by another id", old.body, old.address)

    async def _contradicting(self) -> OutgoingCallback | None:
        """Only of what has ended here: before that it would be news."""
        known = await self._known(ended=True)
        if known is None:
            return None
        return self._genuine("contradicting", self._lie(known[1]), self._address(known[0]))

    async def _astray(self) -> OutgoingCallback | None:
        """About one subject, to another's address."""
        known, other = await self._known(), await self._known()
        if known is None or other is None or known[0] == other[0]:
            return None
        return self._genuine("astray", self._lie(known[1]), self._address(other[0]))

    async def _unknown(self) -> OutgoingCallback | None:
        task = str(self._rng.randrange(10**17, 10**18))
        return self._genuine("unknown", {"task_id": task, "task_status": "processing"}, "")

    async def _forged(self) -> OutgoingCallback | None:
        return await self._lying("forged", key=secrets.token_bytes(32))

    async def _forged_id(self) -> OutgoingCallback | None:
        """Under the id of a message that was sent, or is to be sent later."""
        message_id = self._new_id()
        if self._sent and self._rng.random() < 0.5:
            message_id = self._rng.choice(self._sent).id
        else:
            self._taken_ids.append(message_id)
        key = secrets.token_bytes(32)
        return await self._lying("forged under a true id", key=key, message_id=message_id)

    async def _stale(self) -> OutgoingCallback | None:
        return await self._lying("too old", age=STALE_SECONDS)

    async def _misaddressed(self) -> OutgoingCallback | None:
        """A subject's name with what vouches for another."""
        letter = await self._lying("forged address")
        if letter is None:
            return None
        name = letter.address.rpartition(SEPARATOR)[0]
        vouched = self._address(f"sub_{self._new_id()}").rpartition(SEPARATOR)[2]
        return replace(letter, address=name + SEPARATOR + vouched)

    async def _lying(
        self, kind: str, *, key: bytes | None = None, message_id: str | None = None, age: int = 0
    ) -> OutgoingCallback | None:
        """An end that is not the subject's, or not yet, and must not be believed."""
        known = await self._known()
        if known is None:
            return None
        body, address = orjson.dumps(self._lie(known[1])), self._address(known[0])
        letter = self._signed(kind, body, address, key=key, message_id=message_id, age=age)
        return replace(letter, genuine=False)

    async def _known(self, *, ended: bool = False) -> tuple[str, dict[str, Any]] | None:
        """A subject that the provider has, and the provider's record of it."""
        name = "finished_at" if ended else "provider_task_id"
        known = [one for one, subject in self._heard.last.items() if subject[name]]
        if not known:
            return None
        chosen = self._rng.choice(known)
        return chosen, await self._world.asked(f"/{chosen}")

    def _lie(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The opposite end; of what has not ended, either."""
        status = OPPOSITE.get(record["task_status"]) or self._rng.choice(list(OPPOSITE))
        element = {"element_id": self._rng.randrange(10**17, 10**18), "element_name": "Nobody"}
        lie = {**record, "task_status": status, "updated_at": record["updated_at"] + 1}
        lie["task_result"] = {"elements": [element] if status == "succeed" else []}
        return lie

    def _genuine(self, kind: str, record: Mapping[str, Any], address: str) -> OutgoingCallback:
        message_id = self._taken_ids.pop() if self._taken_ids else None
        letter = self._signed(kind, orjson.dumps(record), address, message_id=message_id)
        self._sent.append(letter)
        return letter

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
