"""external_task_id: any text of the caller's, known again wherever it names a subject."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api import Api
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH

IDS = [
    "a/b//c/",
    "/",
    "?&=#%+%2F",
    " two  words ",
    "Größe 9",
    "заказ №7",
    "注文-७",
    "\u202eback\u2066\u200d",
    "👩\u200d👧",
    "line\u2028end",
    "🎭" * 256,
]


async def named(api: Api, name: str) -> Any:  # noqa: ANN401 - any JSON
    """The envelope of the provider's own path for it."""
    return (await api.http.get(f"{PATH}/{quote(name, safe='')}")).json()


async def listed(api: Api, name: str) -> list[str]:
    answer = await api.http.get("/v1/subjects", params={"external_task_id": name})
    return [subject["id"] for subject in answer.json()["data"]]


@pytest.mark.parametrize("name", IDS)
async def test_a_subject_is_found_by_whatever_its_caller_calls_it(api: Api, name: str) -> None:
    made = await api.create(external_task_id=name)
    assert made["external_task_id"] == name
    assert await listed(api, name) == [made["id"]]
    assert (await named(api, name))["data"]["task_info"] == {"external_task_id": name}
    again = await api.http.post("/v1/subjects", json=request_body(external_task_id=name))
    assert (again.status_code, again.json()["id"]) == (200, made["id"])


async def test_spellings_that_are_the_same_in_nfc_are_one_and_all_others_are_not(api: Api) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    made = await api.create(external_task_id=apart)
    assert made["external_task_id"] == composed
    for name in (composed, apart):
        again = await api.http.post("/v1/subjects", json=request_body(external_task_id=name))
        assert again.json()["id"] == made["id"]
        assert await listed(api, name) == [made["id"]]
        assert (await named(api, name))["data"]["task_id"] == made["id"]
    for other in ("cafe", "CAF\u00c9", "caf\u00e9 ", "ca\ufb01", "cafi"):
        assert (await api.create(external_task_id=other))["id"] != made["id"]


NONE = ["", "a\nb", "\x00", "\x7f", "\x85", "x" * 257, "e\u0301" * 257, "\u0301" * 9000]


@pytest.mark.parametrize("name", NONE)
async def test_what_is_no_id_is_refused_by_its_name_and_names_nothing(api: Api, name: str) -> None:
    refused = [
        await api.http.post("/v1/subjects", json=request_body(external_task_id=name)),
        await api.http.get("/v1/subjects", params={"external_task_id": name}),
    ]
    for answer in refused:
        (found,) = answer.json()["errors"]
        assert (answer.status_code, found["pointer"]) == (422, "/external_task_id")
        assert found["message"].startswith("external_task_id must ")
    if name:
        assert (await named(api, name))["code"] == 1201 or "\n" in name


async def test_half_a_surrogate_pair_and_broken_utf_8_name_nothing(api: Api) -> None:
    body = b'{"external_task_id": "\\ud83c"}'
    headers = {"content-type": "application/json"}
    answer = await api.http.post("/v1/subjects", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert (await api.http.get(f"{PATH}/%ff")).json()["code"] == 1201


async def test_a_refusal_that_quotes_one_spells_out_what_does_not_show(api: Api) -> None:
    body = request_body(external_task_id="\u202eevil \u2066")
    await api.http.post(PATH, json=body)
    answer = await api.http.post(PATH, json=body)
    message = answer.json()["message"]
    assert message == r"external_task_id \u202eevil \u2066 already exists"
