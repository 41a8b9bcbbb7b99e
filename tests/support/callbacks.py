"""Callbacks as the provider posts them: bodies, signed headers, and the token in their URL."""

import json
from datetime import datetime
from typing import Any

from service.callbacks.domain.url_tokens import callback_token
from service.intake.domain.create_request import Accepted
from service.intake.steps.accept import accept
from service.intake.steps.validate import validate
from service.kit.crypto import webhook_signatures
from service.kit.crypto.key_formats import parse_whsec
from service.resources import Resources
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.database import fetch

TASK_ID = "880000000000000001"
ELEMENT_ID = "770000000000000001"


def legacy_callback(
    subject_id: str | None, status: str = "succeed", task: str = TASK_ID, **changes: object
) -> bytes:
    """Body of a callback in the legacy shape (rule P71)."""
    body: dict[str, object] = {"task_id": task, "task_status": status, "task_status_msg": ""}
    if subject_id is not None:
        body["task_info"] = {"external_task_id": subject_id}
    if status == "succeed":
        body["task_result"] = {"elements": [{"element_id": int(ELEMENT_ID), "element_name": "Ada"}]}
    return json.dumps(body | changes).encode()


def current_callback(
    subject_id: str | None, status: str = "succeed", task: str = TASK_ID, **changes: object
) -> bytes:
    """Body of a callback in the current shape (rule P72)."""
    body: dict[str, object] = {"id": task, "message": "", "outputs": []}
    body["status"] = {"succeed": "succeeded"}.get(status, status)
    if subject_id is not None:
        body["external_id"] = subject_id
    if status == "succeed":
        body["outputs"] = [{"type": "element", "id": int(ELEMENT_ID), "name": "Ada"}]
    return json.dumps(body | changes).encode()


def signed_headers(
    body: bytes, at: datetime, message_id: str = "msg_1", secret: str = WEBHOOK_SECRET
) -> dict[str, str]:
    """Headers of a callback that is signed at this time."""
    keys = [parse_whsec(secret)]
    return webhook_signatures.signature_headers(keys, message_id, int(at.timestamp()), body)


def url_token(resources: Resources, subject_id: str) -> str:
    """The token in the callback URL that the provider is given for this subject."""
    return callback_token(resources.callback_token_key, subject_id)


async def accept_request(
    resources: Resources, account_id: str, body: object, key: str | None = None
) -> Accepted:
    """Create a subject as POST /v1/subjects does, in a transaction of its own."""
    return await accept(resources, validate(resources.settings, account_id, body, key))


async def stored_callbacks(api: Api, order: str = "id") -> list[dict[str, Any]]:
    """All rows of `callbacks`, in the order of this column."""
    return await fetch(api.resources, f"SELECT * FROM callbacks ORDER BY {order}")  # noqa: S608 - our own word
