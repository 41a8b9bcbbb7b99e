"""Callbacks: both shapes, signed, tried again, and everything a fault does to them."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.callbacks.domain.verification import verify_v1
from service.kit.crypto.key_formats import parse_whsec
from service.kit.errors import SignatureError
from tests.support.simulator import FINISH_AT_ONCE, WEBHOOK_SECRET, simulator
from tests.support.webhook_receiver import webhook_receiver

Got = Sequence[tuple[dict[str, str], bytes]]


def statuses(got: Got) -> list[str]:
    """The status words, in the order in which they came."""
    bodies = [json.loads(body) for _, body in got]
    return [body.get("task_status", body.get("status")) for body in bodies]


def verified(got: Got) -> list[str]:
    """The message ids; SignatureError if one does not verify."""
    keys = [parse_whsec(WEBHOOK_SECRET)]
    now = datetime.fromtimestamp(time.time(), UTC)
    return [verify_v1(keys, headers, body, now) for headers, body in got]


async def test_every_status_is_called_back_about_signed_in_the_older_shape() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.create(external_task_id="a", callback_url=back.url)
        got = await back.wait_for(3)
        record = await remote.wait_until_finished("a")
    assert statuses(got) == ["submitted", "processing", "succeed"]
    assert len(set(verified(got))) == 3
    assert json.loads(got[2][1]) == record
    assert "task_result" not in json.loads(got[0][1])
    assert got[0][0]["content-type"] == "application/json"


async def test_the_newer_shape_names_things_otherwise() -> None:
    async with (
        webhook_receiver() as back,
        simulator(replace(FINISH_AT_ONCE, shape="current")) as remote,
    ):
        answer = await remote.create(external_task_id="a", callback_url=back.url)
        got = await back.wait_for(3)
    last = json.loads(got[2][1])
    assert statuses(got) == ["submitted", "processing", "succeeded"]
    assert last["id"] == answer.json()["data"]["task_id"]
    assert last["external_id"] == "a"
    [output] = last["outputs"]
    assert (output["type"], output["element_type"]) == ("element", "multi_image_elements")
    assert isinstance(output["id"], int)
    assert [material["role"] for material in output["materials"]] == [
        "frontal_image",
        "refer_images",
    ]
    assert "task_id" not in last


async def test_one_task_may_have_a_shape_of_its_own() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"shape": "current"})
        await remote.create(callback_url=back.url)
        got = await back.wait_for(3)
    assert statuses(got)[2] == "succeeded"


@pytest.mark.parametrize("unsigned", ["secret", "setting", "fault"])
async def test_unsigned_callbacks_have_no_headers(unsigned: str) -> None:
    secret = None if unsigned == "secret" else WEBHOOK_SECRET
    settings = replace(FINISH_AT_ONCE, sign=unsigned != "setting")
    async with webhook_receiver() as back, simulator(settings, webhook_secret=secret) as remote:
        await remote.admin("faults", {"unsigned": unsigned == "fault"})
        await remote.create(callback_url=back.url)
        got = await back.wait_for(3)
    assert not any(name.startswith("webhook-") for headers, _ in got for name in headers)


async def test_a_refused_callback_is_tried_again_with_the_same_id() -> None:
    async with webhook_receiver(500) as back, simulator() as remote:
        await remote.create(external_task_id="a", callback_url=back.url)
        got = await back.wait_for(4)
        callbacks = (await remote.ledger("a"))["callbacks"]
    ids = verified(got)
    assert len(set(ids)) == 3
    assert sorted(entry["answer"] for entry in callbacks[:4]) == [200, 200, 200, 500]


async def test_an_unreachable_receiver_is_given_up_after_the_retries() -> None:
    async with simulator() as remote:
        await remote.create(external_task_id="a", callback_url="http://127.0.0.1:65009/callback")
        await remote.wait_until_finished("a")
        entries: list[dict[str, object]] = []
        while len(entries) < 9:
            entries = (await remote.ledger("a"))["callbacks"]
    assert {entry["outcome"] for entry in entries} == {"failed"}
    assert {entry["answer"] for entry in entries} == {"ClientConnectorError"}


async def test_lost_callbacks_never_come_and_the_task_ends_all_the_same() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"lose": True})
        await remote.create(external_task_id="all", callback_url=back.url)
        await remote.admin("faults", {"lose": ["submitted", "processing"]})
        await remote.create(external_task_id="some", callback_url=back.url)
        await remote.wait_until_finished("all")
        got = await back.wait_for(1)
        lost = [entry["outcome"] for entry in (await remote.ledger("all"))["callbacks"]]
    assert lost == ["lost"] * 3
    assert [json.loads(body)["task_info"]["external_task_id"] for _, body in got] == ["some"]
    assert statuses(got) == ["succeed"]


@pytest.mark.parametrize(("fresh", "distinct"), [(False, 3), (True, 9)])
async def test_duplicates_come_under_the_same_id_or_a_fresh_one(
    fresh: bool,  # noqa: FBT001 — a parameter of the test
    distinct: int,
) -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"duplicate": 2, "fresh_ids": fresh})
        await remote.create(callback_url=back.url)
        got = await back.wait_for(9)
    assert len(set(verified(got))) == distinct
    assert len({body for _, body in got}) == 3


async def test_reordered_callbacks_come_last_first() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"reorder": True, "callback_delay": 0.01})
        await remote.create(callback_url=back.url)
        got = await back.wait_for(3)
    assert statuses(got) == ["succeed", "processing", "submitted"]


@pytest.mark.parametrize("fault", [{"forge": True}, {"skew": 900}, {"skew": -900}])
async def test_a_forged_or_skewed_callback_does_not_verify(fault: dict[str, object]) -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", fault)
        await remote.create(callback_url=back.url)
        got = await back.wait_for(3)
    for request in got:
        with pytest.raises(SignatureError):
            verified([request])


async def test_callbacks_can_come_before_the_answer_to_create() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"before_answer": 3})
        answer = await remote.create(callback_url=back.url)
        came = list(back.requests)
    assert statuses(came) == ["submitted", "processing", "succeed"]
    assert answer.json()["data"]["task_status"] == "submitted"


@pytest.mark.parametrize(("fail", "end"), [(None, "failed"), ("no face", "succeed")])
async def test_a_contradiction_comes_after_the_end(fail: str | None, end: str) -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"contradict": True, "fail": fail})
        await remote.create(external_task_id="a", callback_url=back.url)
        got = await back.wait_for(4)
        record = await remote.wait_until_finished("a")
    assert statuses(got)[3] == end
    assert record["task_status"] != end


async def test_a_word_of_its_own_is_used_everywhere() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        await remote.admin("faults", {"words": {"succeed": "reviewing"}})
        task = (await remote.create(callback_url=back.url)).json()["data"]["task_id"]
        got = await back.wait_for(3)
        record = (await remote.query(task)).json()["data"]
    assert statuses(got)[2] == record["task_status"] == "reviewing"


async def test_the_console_test_is_signed_about_a_task_that_never_was() -> None:
    async with webhook_receiver() as back, simulator() as remote:
        assert (await remote.admin("test-callback", {"url": back.url})).status_code == 202
        [(headers, body)] = await back.wait_for(1)
        unknown = await remote.query(json.loads(body)["id"])
        wrong = await remote.admin("test-callback", {})
    assert verified([(headers, body)])
    assert json.loads(body)["outputs"] == []
    assert statuses([(headers, body)]) == ["submitted"]
    assert unknown.json()["code"] == 1201
    assert wrong.status_code == 400


async def test_without_a_callback_url_nobody_is_called() -> None:
    async with simulator() as remote:
        await remote.create(external_task_id="quiet")
        await remote.wait_until_finished("quiet")
        assert (await remote.ledger("quiet"))["callbacks"] == []
