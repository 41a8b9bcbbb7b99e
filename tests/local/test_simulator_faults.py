"""Faults by request: which calls they meet, and what becomes of the answer."""

import httpx
import pytest

from service.local.simulator.faults import NO_FAULT, Fault, Faults
from tests.support.simulator import NEVER_FINISH, PATH, simulator


def test_a_rule_meets_the_calls_it_names_as_often_as_it_says() -> None:
    faults = Faults()
    once = Fault(element_name="Ada", code=1301)
    always = Fault(external_task_id="x", times=None)
    faults.add(once)
    faults.add(always)
    assert faults.next_for("query", {"element_name": "Ada"}) is NO_FAULT
    assert faults.next_for("create", {"element_name": "Bob"}) is NO_FAULT
    assert faults.next_for("create", {"element_name": "Ada"}) is once
    assert faults.next_for("create", {"element_name": "Ada"}) is NO_FAULT
    assert [faults.next_for("create", {"external_task_id": "x"}) for _ in range(3)] == [always] * 3


def test_a_share_is_spread_evenly_over_the_calls() -> None:
    faults = Faults()
    rule = Fault(times=None, share=0.3, lose=True)
    faults.add(rule)
    met = [faults.next_for("create", {}) is rule for _ in range(100)]
    assert sum(met) == 30
    assert sum(met[:10]) == 3


def test_rules_taken_away_meet_nothing() -> None:
    faults = Faults()
    faults.add(Fault(times=5))
    faults.clear()
    assert faults.next_for("create", {}) is NO_FAULT
    assert faults.active() == []


async def test_a_refusal_has_the_code_and_message_asked_for_and_makes_nothing() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"code": 1301, "message": "not that face"})
        refused = await remote.create(external_task_id="a")
        accepted = await remote.create(external_task_id="a")
        ledger = await remote.ledger("a")
    assert (refused.status_code, refused.json()["code"]) == (400, 1301)
    assert refused.json()["message"] == "not that face"
    assert accepted.status_code == 200
    assert [entry["code"] for entry in ledger["creates"]] == [1301, 0]


async def test_an_error_can_hide_an_accepted_task() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"code": 5002, "accept": True})
        answer = await remote.create(external_task_id="a")
        found = await remote.query("a")
    assert (answer.status_code, answer.json()["code"]) == (504, 5002)
    assert found.json()["data"]["task_status"] == "submitted"


@pytest.mark.parametrize(("accept", "found"), [(None, 200), (True, 200), (False, 400)])
async def test_an_answer_is_dropped_after_the_task_is_made_or_before(
    accept: bool | None,  # noqa: FBT001 — a parameter of the test
    found: int,
) -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"answer": "drop", "accept": accept})
        with pytest.raises(httpx.TransportError):
            await remote.create(external_task_id="a")
        assert (await remote.query("a")).status_code == found
        outcome = (await remote.ledger("a"))["creates"][0]["outcome"]
    assert outcome == ("accepted" if found == 200 else "dropped")


async def test_the_answer_to_a_look_up_is_dropped_too() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"on": "query", "answer": "drop"})
        with pytest.raises(httpx.TransportError):
            await remote.query("a")
        assert (await remote.query("a")).json()["code"] == 1201


async def test_an_answer_can_be_cut_in_half() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"answer": "truncated"})
        with pytest.raises(httpx.RemoteProtocolError):
            await remote.create()


async def test_an_answer_can_be_garbage_with_any_status() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"answer": "garbage", "http_status": 502})
        answer = await remote.create(external_task_id="a")
    assert answer.status_code == 502
    assert "<html>" in answer.text


async def test_an_answer_can_be_far_too_large() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"answer": "oversized"})
        answer = await remote.create(external_task_id="a")
    assert len(answer.content) > 64 << 20
    assert answer.json()["code"] == 0


async def test_an_oversized_answer_ends_when_the_caller_hangs_up() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"on": "list", "answer": "oversized"})
        async with remote.http.stream("GET", PATH) as answer:
            await anext(answer.aiter_raw())
        assert (await remote.http.get(PATH)).status_code == 200


async def test_an_answer_can_come_byte_by_byte() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"on": "query", "answer": "trickle", "delay": 0.1})
        await remote.create(external_task_id="a")
        async with remote.http.stream("GET", f"{PATH}/a") as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 5
    assert b"".join(pieces).startswith(b'{"code":0')


async def test_an_answer_can_be_delayed_past_the_callers_patience() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("faults", {"delay": 30})
        with pytest.raises(httpx.ReadTimeout):
            await remote.http.post(PATH, json={"element_name": "no subject at all"}, timeout=0.1)
        assert (await remote.create()).status_code == 200


@pytest.mark.parametrize("on", ["query", "list"])
async def test_look_ups_fail_too(on: str) -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.create(external_task_id="a")
        await remote.admin("faults", {"on": on, "code": 5000})
        path = f"{PATH}/a" if on == "query" else PATH
        answers = [await remote.http.get(path) for _ in range(2)]
    assert [response.json()["code"] for response in answers] == [5000, 0]


async def test_an_answer_waits_for_no_callbacks_if_there_are_none() -> None:
    async with simulator() as remote:
        await remote.admin("faults", {"before_answer": 3})
        assert (await remote.create()).status_code == 200


async def test_a_task_fails_with_its_message() -> None:
    async with simulator() as remote:
        await remote.admin("faults", {"element_name": "Ada", "fail": "no face found"})
        await remote.create(external_task_id="a")
        record = await remote.wait_until_finished("a")
    assert (record["task_status"], record["task_status_msg"]) == ("failed", "no face found")


async def test_a_stuck_task_stays_with_processing() -> None:
    async with simulator() as remote:
        await remote.admin("faults", {"stuck": True, "processing_after": 0})
        await remote.create(external_task_id="stuck")
        await remote.create(external_task_id="after")
        await remote.wait_until_finished("after")
        record = (await remote.query("stuck")).json()["data"]
    assert record["task_status"] == "processing"


@pytest.mark.parametrize("body", [[], 1, {"nonsense": 1}, {"on": "destroy"}, {"times": "x"}])
@pytest.mark.parametrize("path", ["faults", "settings"])
async def test_nonsense_is_refused_and_changes_nothing(path: str, body: object) -> None:
    async with simulator() as remote:
        before = (await remote.http.get(f"/_simulator/{path}")).json()
        answer = await remote.admin(path, body)
        after = (await remote.http.get(f"/_simulator/{path}")).json()
    assert before == after
    assert answer.status_code == (200 if (path, body) == ("faults", []) else 400)


async def test_rules_are_added_in_a_list_shown_and_taken_away() -> None:
    async with simulator() as remote:
        shown = await remote.admin("faults", [{"lose": True, "times": None}, {"words": {"a": "b"}}])
        gone = await remote.http.delete("/_simulator/faults")
    assert [fault["lose"] for fault in shown.json()] == [True, False]
    assert gone.json() == []
