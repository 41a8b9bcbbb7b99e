"""Secret rotation: a receiver that verifies by several secrets, rotations, and published keys."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.callbacks.domain.verification import verify_v1
from service.kit.crypto.key_formats import parse_whsec
from service.kit.errors import SignatureError
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.http_server import http_server

UNUSED_URL = "http://127.0.0.1:1024"  # for those that nothing is sent to

SignedRequest = tuple[dict[str, str], bytes]


@dataclass
class VerifyingReceiver:
    """A receiver that accepts what one of its secrets verifies, and answers 401 to the rest."""

    clock: Callable[[], datetime]
    url: str = ""
    secrets: list[str] = field(default_factory=list)
    accepted: list[SignedRequest] = field(default_factory=list)
    refused: list[SignedRequest] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        got = dict(request.headers), await request.body()
        good = any(verifies_with_secret(secret, got, self.clock()) for secret in self.secrets)
        (self.accepted if good else self.refused).append(got)
        return Response(status_code=200 if good else 401)


@asynccontextmanager
async def verifying_receiver(api: Api, *secrets: str) -> AsyncIterator[VerifyingReceiver]:
    receiver = VerifyingReceiver(api.resources.clock, secrets=list(secrets))
    app = Starlette(routes=[Route("/hook", receiver.receive, methods=["POST"])])
    async with http_server(app) as address:
        receiver.url = f"{address}/hook"
        yield receiver


def verifies_with_secret(secret: str, got: SignedRequest, now: datetime) -> bool:
    """Whether a v1 signature of the request is by this secret."""
    try:
        verify_v1([parse_whsec(secret)], *got, now)
    except SignatureError:
        return False
    return True


def verifies_with_key(key: Mapping[str, str], got: SignedRequest) -> bool:
    """Whether a v1a signature of the request is by this key of a JWKS; without code of ours."""
    headers, body = got
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for labelled in headers["webhook-signature"].split(" "):
        label, _, signature = labelled.partition(",")
        if label == "v1a":
            try:
                public.verify(base64.b64decode(signature), content)
            except InvalidSignature:
                continue
            return True
    return False


async def rotate_secret(
    api: Api, subscriber: Mapping[str, Any], **options: object
) -> dict[str, Any]:
    """Rotate the subscriber's secret; the body of the response."""
    path = f"/v1/subscribers/{subscriber['id']}/rotate-secret"
    answer = await api.http.post(path, json=options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


async def published_keys(api: Api) -> list[dict[str, str]]:
    """The public keys of the JWKS."""
    answer = await api.http.get("/.well-known/jwks.json")
    assert answer.status_code == 200, answer.text
    keys: list[dict[str, str]] = answer.json()["keys"]
    return keys


async def deliver_event(api: Api, backend: VerifyingReceiver) -> SignedRequest:
    """Create a subject and deliver its event; the request that was accepted."""
    await api.create()
    count = len(backend.accepted)
    await api.work(Work.DELIVER)
    assert backend.refused == []
    assert len(backend.accepted) == count + 1
    return backend.accepted[-1]
