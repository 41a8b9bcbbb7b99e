"""A request is decided again if another takes a name of its batch meanwhile."""

import asyncio
from typing import Any

from service.intake.domain.create_request import Accepted, CreateRequest, pending_create
from service.intake.steps.accept import accept_batch
from service.intake.steps.validate import validate
from service.intake.store import insert
from service.intake.store.insert import NewSubject
from service.kit.errors import Conflict
from tests.support.api import Api
from tests.support.database import fetch, wait_until_blocked
from tests.support.request_bodies import request_body


async def test_what_is_decided_again_has_a_hidden_subscriber_that_was_written(
    api: Api, account: str
) -> None:
    """The one that was made first is rolled back, as the name of another request is taken."""

    def request(**changes: Any) -> CreateRequest:  # noqa: ANN401
        return validate(api.resources.settings, account, request_body(**changes))

    rival = pending_create(request(external_task_id="taken"), "sub_rival", api.resources.clock(), 9)
    batch = [
        request(external_task_id="taken", element_name="Eve"),
        request(callback_url="http://127.0.0.1:65009/done"),
    ]
    async with api.resources.database.transaction() as tx:
        await insert.add_subjects(tx, [NewSubject(rival.subject)])
        deciding = asyncio.create_task(accept_batch(api.resources, batch))
        await wait_until_blocked(api.resources)
    refused, accepted = await deciding
    assert isinstance(refused, Conflict)
    assert isinstance(accepted, Accepted)
    (subscriber,) = await fetch(api.resources, "SELECT id FROM subscribers")
    assert accepted.subject.callback_subscriber_id == subscriber["id"]
