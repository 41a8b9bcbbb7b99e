"""The provider's calls as rules P2 to P9 have them."""

import httpx
import pytest

from tests.support.request_bodies import JPEG_BASE64, PNG_BASE64, request_body
from tests.support.simulator import NEVER_FINISH, PATH, simulator


async def test_a_create_answers_with_the_task_in_an_envelope() -> None:
    async with simulator(NEVER_FINISH) as remote:
        answer = await remote.create(external_task_id="mine-1")
    body = answer.json()
    data = body["data"]
    assert (answer.status_code, body["code"], body["message"]) == (200, 0, "SUCCEED")
    assert body["request_id"]
    assert len(data["task_id"]) == 18
    assert int(data["task_id"]) > 2**53
    assert data["task_info"] == {"external_task_id": "mine-1"}
    assert data["task_status"] == "submitted"
    assert data["created_at"] == data["updated_at"] > 1_700_000_000_000


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_trailing_slash_makes_no_difference(end: str) -> None:
    async with simulator(NEVER_FINISH) as remote:
        created = await remote.http.post(PATH + end, json=request_body(external_task_id="x"))
        listed = await remote.http.get(PATH + end)
        queried = await remote.http.get(f"{PATH}/x{end}")
    assert [response.status_code for response in (created, listed, queried)] == [200, 200, 200]


async def test_a_task_is_found_by_both_ids_and_ends_with_an_element() -> None:
    async with simulator() as remote:
        task_id = (await remote.create(external_task_id="mine-2")).json()["data"]["task_id"]
        record = await remote.wait_until_finished("mine-2")
        same = (await remote.query(task_id)).json()["data"]
    assert record == same
    assert record["task_status"] == "succeed"
    assert record["task_status_msg"] == ""
    assert record["final_unit_deduction"] == "0"
    [element] = record["task_result"]["elements"]
    assert isinstance(element["element_id"], int)
    assert len(str(element["element_id"])) == 18
    assert element["element_name"] == "Ada"
    assert element["status"] == "succeed"
    assert element["tag_list"] == [{"id": "o_102", "name": "person", "description": "person"}]
    assert element["element_image_list"]["frontal_image"].startswith("https://")


async def test_an_unknown_task_is_a_wrong_parameter_and_not_a_404() -> None:
    async with simulator() as remote:
        answer = await remote.query("nobody")
    assert answer.status_code == 400
    assert answer.json()["code"] == 1201
    assert answer.json()["message"].startswith("Task not found")
    assert "data" not in answer.json()


async def test_a_repeated_external_id_is_refused_and_makes_nothing() -> None:
    async with simulator() as remote:
        await remote.create(external_task_id="twice")
        answer = await remote.create(external_task_id="twice")
        ledger = await remote.ledger("twice")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert answer.json()["message"] == "external_task_id twice already exists"
    assert [entry["outcome"] for entry in ledger["creates"]] == ["accepted", "refused"]
    assert ledger["counts"]["tasks"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"element_name": "x" * 21}, "/element_name"),
        ({"element_description": None}, "/element_description"),
        ({"reference_type": "video_refer", "element_image_list": None}, "/element_video_list"),
        ({"tag_list": [{"tag_id": "o_999"}]}, "/tag_list/0"),
        (
            {
                "element_image_list": {
                    "frontal_image": "data:image/jpeg;base64," + JPEG_BASE64,
                    "refer_images": [{"image_url": PNG_BASE64}],
                }
            },
            "without a data: prefix",
        ),
    ],
)
async def test_what_the_document_refuses_is_refused(changes: dict[str, object], said: str) -> None:
    async with simulator() as remote:
        answer = await remote.create(**changes)
        ledger = await remote.ledger()
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert said in answer.json()["message"]
    assert ledger["counts"] == {"creates_refused": 1, "tasks": 0, "running": 0, "peak_running": 0}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async with simulator() as remote:
        answer = await remote.http.post(PATH, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 1200)


async def test_a_body_beyond_all_sizes_is_refused() -> None:
    async with simulator() as remote:
        answer = await remote.http.post(PATH, content=b" " * (65 << 20))
    assert answer.json()["code"] == 1201


async def test_the_list_is_paged_newest_first_within_bounds() -> None:
    async with simulator(NEVER_FINISH) as remote:
        for index in range(3):
            await remote.create(external_task_id=f"n-{index}")
        first = await remote.http.get(PATH, params={"pageNum": 1, "pageSize": 2})
        second = await remote.http.get(PATH, params={"pageNum": 2, "pageSize": 2})
    ids = [task["task_info"]["external_task_id"] for task in first.json()["data"]]
    assert ids == ["n-2", "n-1"]
    assert [task["task_info"]["external_task_id"] for task in second.json()["data"]] == ["n-0"]


@pytest.mark.parametrize("query", ["pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=x"])
async def test_a_page_out_of_bounds_is_refused(query: str) -> None:
    async with simulator() as remote:
        answer = await remote.http.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/v2", 1203), ("PUT", PATH, 1202)])
async def test_an_unknown_path_or_method_has_its_code(method: str, path: str, code: int) -> None:
    async with simulator() as remote:
        answer: httpx.Response = await remote.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_running_tasks_above_the_limit_are_refused_and_the_peak_is_known() -> None:
    async with simulator(NEVER_FINISH) as remote:
        await remote.admin("settings", {"parallel": 2})
        answers = [await remote.create() for _ in range(3)]
        ledger = await remote.ledger()
    assert [response.json()["code"] for response in answers] == [0, 0, 1303]
    assert answers[2].status_code == 429
    assert (ledger["counts"]["running"], ledger["counts"]["peak_running"]) == (2, 2)


async def test_calls_above_the_rate_are_refused() -> None:
    async with simulator() as remote:
        await remote.admin("settings", {"rate": 0})
        answer = await remote.query("x")
    assert (answer.status_code, answer.json()["code"]) == (429, 1302)


async def test_the_simulator_says_that_it_is_up() -> None:
    async with simulator() as remote:
        assert (await remote.http.get("/_simulator/healthz")).json() == {"status": "ok"}
