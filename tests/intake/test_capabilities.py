"""Which model takes which subject: as a map, and in each subject that was made."""

import json
from typing import Any

import pytest

from service.job_queue import Work
from service.provider.domain import model_capabilities
from service.provider.domain.model_capabilities import MODELS, MODELS_BY_REFERENCE_TYPE
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.subjects.domain.representation import public_subject
from tests.support.api import Api
from tests.support.subjects import NOW, make_subject

TAKES = {  # rule P80: images, videos
    "kling-video-o1": (True, False),
    "kling-v3-omni": (True, True),
    "kling-v3": (True, True),
    "kling-v3-turbo": (False, False),
    "kling-v2-6": (False, False),
    "kling-v2-5-turbo": (False, False),
}
WHEN = {"default", "reference_video", "first_and_last_frame", "motion_control"}


async def models(api: Api) -> dict[str, dict[str, Any]]:
    answer = await api.http.get("/v1/capabilities")
    assert answer.status_code == 200
    assert set(answer.json()) == {"data"}
    return {one["model"]: one for one in answer.json()["data"]}


async def test_the_map_is_the_providers(api: Api) -> None:
    found = await models(api)
    takes = {name: (one["image_subject"], one["video_subject"]) for name, one in found.items()}
    assert takes == TAKES
    assert {name: one["aliases"] for name, one in found.items() if one["aliases"]} == {
        "kling-v3-omni": ["kling-video-o3"]
    }


async def test_limits_can_be_read_by_machines(api: Api) -> None:
    found = await models(api)
    per_request = {name: one["subjects_per_request"] for name, one in found.items()}
    assert {name: one["most"] for name, one in per_request.items()} == {
        "kling-video-o1": 7,
        "kling-v3-omni": 7,
        "kling-v3": 3,
        "kling-v3-turbo": 0,
        "kling-v2-6": 0,
        "kling-v2-5-turbo": 0,
    }
    assert [one for one in per_request["kling-v3-omni"]["limits"] if one["video_subjects"]] == [
        {
            "when": "default",
            "subjects": 7,
            "image_subjects": 4,
            "video_subjects": 3,
            "images_and_image_subjects": 4,
        },
        {
            "when": "reference_video",
            "subjects": 1,
            "image_subjects": 0,
            "video_subjects": 1,
            "images_and_image_subjects": 0,
        },
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda one: str(one.model))
def test_no_limit_contradicts_its_model(model: model_capabilities.Model) -> None:
    limits = model.subjects_per_request.limits
    assert model.subjects_per_request.most == max((one.subjects for one in limits), default=0)
    assert any(one.image_subjects for one in limits) == model.image_subject
    assert any(one.video_subjects for one in limits) == model.video_subject
    for one in limits:
        assert one.when in WHEN
        assert max(one.image_subjects, one.video_subjects) <= one.subjects
        assert one.subjects <= one.image_subjects + one.video_subjects
    assert model.subjects_per_request.note


async def test_a_query_parameter_is_refused(api: Api) -> None:
    assert (await api.http.get("/v1/capabilities?model=x")).status_code == 422


@pytest.mark.parametrize("kind", [IMAGE, VIDEO])
def test_a_subject_that_was_made_names_what_takes_it_and_so_does_its_event(kind: str) -> None:
    document = {**make_subject().document, "reference_type": kind}
    made = make_subject(
        document=document, state=State.SUCCEEDED, result={"element_id": "1"}, finished_at=NOW
    )
    names = public_subject(made)["usable_with"]
    assert names == list(MODELS_BY_REFERENCE_TYPE[kind])
    assert json.loads(subject_event(made).body)["data"]["usable_with"] == names
    assert ("kling-video-o1" in names) == (kind == IMAGE)
    assert {"kling-v3-omni", "kling-video-o3", "kling-v3"} <= set(names)
    assert "kling-v3-turbo" not in names


@pytest.mark.parametrize("state", [one for one in State if one is not State.SUCCEEDED])
def test_what_was_not_made_is_usable_with_nothing(state: State) -> None:
    assert public_subject(make_subject(state=state))["usable_with"] is None


async def test_it_is_in_the_answer_once_the_subject_has_succeeded(api: Api) -> None:
    made = await api.create()
    assert made["usable_with"] is None
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(made["id"]))["usable_with"] == list(
        MODELS_BY_REFERENCE_TYPE[IMAGE]
    )
