"""Images in Base64 are stored once, for as long as an unfinished subject needs them."""

import asyncio
import base64
from datetime import timedelta
from typing import Any

from service.media.store import inline_media
from service.retention.steps import prune
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import fetch, wait_until_blocked
from tests.support.request_bodies import picture

AGE = timedelta(days=1)
PICTURES = [base64.b64encode(picture(shade=shade)).decode() for shade in (10, 200)]


def image(frontal: str, refer: str) -> dict[str, Any]:
    return {"frontal_image": frontal, "refer_images": [{"image_url": refer}]}


async def stored_count(api: Api) -> int:
    return len(await fetch(api.resources, "SELECT hash FROM media"))


async def cancel(api: Api, subject: dict[str, Any]) -> None:
    answer = await api.http.post(f"/v1/subjects/{subject['id']}/cancel")
    assert answer.status_code == 200


async def test_media_are_kept_once_per_content(api: Api) -> None:
    await api.create(element_image_list=image(*PICTURES))
    await api.create(element_image_list=image(*reversed(PICTURES)))
    assert await stored_count(api) == 2
    assert len(await fetch(api.resources, "SELECT hash FROM subject_media")) == 4


async def test_images_are_deleted_once_no_unfinished_subject_needs_them(
    api: Api, clock: Clock
) -> None:
    first, second = [await api.create(element_image_list=image(*PICTURES)) for _ in range(2)]
    clock.advance(AGE.total_seconds())
    await cancel(api, first)
    await prune.prune(api.resources)
    assert await stored_count(api) == 2, "the second still needs them"
    await cancel(api, second)
    await prune.prune(api.resources)
    assert await stored_count(api) == 0


async def test_media_just_brought_are_not_dropped_before_they_are_needed(
    api: Api, clock: Clock
) -> None:
    subject = await api.create(element_image_list=image(*PICTURES))
    await cancel(api, subject)
    await prune.prune(api.resources)
    assert await stored_count(api) == 2
    clock.advance(601)
    await prune.prune(api.resources)
    assert await stored_count(api) == 0


async def test_media_that_a_new_subject_brings_again_are_not_dropped_under_it(
    api: Api, clock: Clock
) -> None:
    resources = api.resources
    await cancel(api, await api.create(element_image_list=image(*PICTURES)))
    clock.advance(AGE.total_seconds())
    async with resources.database.transaction() as tx:
        old = {row["hash"]: row["bytes"] for row in await fetch(resources, "SELECT * FROM media")}
        await inline_media.save(tx, old, clock())
        pruning = asyncio.create_task(prune.prune(resources))
        await wait_until_blocked(resources)
    await pruning
    assert await stored_count(api) == 2


async def test_media_that_are_just_being_dropped_are_brought_again(api: Api, clock: Clock) -> None:
    resources = api.resources
    await cancel(api, await api.create(element_image_list=image(*PICTURES)))
    clock.advance(AGE.total_seconds())
    async with resources.database.transaction() as tx:
        await inline_media.unlink_finished(tx)
        assert await inline_media.delete_unused(tx, clock()) == 2
        creating = asyncio.create_task(api.create(element_image_list=image(*PICTURES)))
        await wait_until_blocked(resources)
    subject = await creating
    assert await stored_count(api) == 2
    async with resources.database.autocommit() as tx:
        assert len(await inline_media.by_subject(tx, subject["id"])) == 2
