"""Which model takes which subject: as a map, and in each subject that was made."""

import json
from typing import Any

import pytest

from service.provider.domain import model_capabilities
from service.provider.domain.model_capabilities import MODELS, MODELS_BY_REFERENCE_TYPE
from service.subjects.domain.event import subject_event
from service.subjects.domain.lifecycle import State
from service.subjects.domain.reference_types import IMAGE, VIDEO
from service.subjects.domain.representation import public_subject
from service.subjects.domain.work import Work
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
    return {model["model"]: model for model in answer.json()["data"]}


async def test_capabilities_are_those_of_the_provider(api: Api) -> None:
    models_by_name = await models(api)
    takes = {
        name: (model["image_subject"], model["video_subject"])
        for name, model in models_by_name.items()
    }
    assert takes == TAKES
    assert {
        name: model["aliases"] for name, model in models_by_name.items() if model["aliases"]
    } == {"kling-v3-omni": ["kling-video-o3"]}


async def test_limits_can_be_read_by_machines(api: Api) -> None:
    models_by_name = await models(api)
    per_request = {name: limits["subjects_per_request"] for name, limits in models_by_name.items()}
    assert {name: limits["most"] for name, limits in per_request.items()} == {
        "kling-video-o1": 7,
        "kling-v3-omni": 7,
        "kling-v3": 3,
        "kling-v3-turbo": 0,
        "kling-v2-6": 0,
        "kling-v2-5-turbo": 0,
    }
    assert [
        limit for limit in per_request["kling-v3-omni"]["limits"] if limit["video_subjects"]
    ] == [
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


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.model))
def test_no_limit_contradicts_its_model(model: model_capabilities.Model) -> None:
    limits = model.subjects_per_request.limits
    assert model.subjects_per_request.most == max((limit.subjects for limit in limits), default=0)
    assert any(limit.image_subjects for limit in limits) == model.image_subject
    assert any(limit.video_subjects for limit in limits) == model.video_subject
    for limit in limits:
        assert limit.when in WHEN
        assert max(limit.image_subjects, limit.video_subjects) <= limit.subjects
        assert limit.subjects <= limit.image_subjects + limit.video_subjects
    assert model.subjects_per_request.note


async def test_a_query_parameter_is_refused(api: Api) -> None:
    assert (await api.http.get("/v1/capabilities?model=x")).status_code == 422


@pytest.mark.parametrize("reference_type", [IMAGE, VIDEO])
def test_a_succeeded_subject_and_its_event_list_the_models_that_take_it(
    reference_type: str,
) -> None:
    document = {**make_subject().document, "reference_type": reference_type}
    made = make_subject(
        document=document, state=State.SUCCEEDED, result={"element_id": "1"}, finished_at=NOW
    )
    names = public_subject(made)["usable_with"]
    assert names == list(MODELS_BY_REFERENCE_TYPE[reference_type])
    assert json.loads(subject_event(made).body)["data"]["usable_with"] == names
    assert ("kling-video-o1" in names) == (reference_type == IMAGE)
    assert {"kling-v3-omni", "kling-video-o3", "kling-v3"} <= set(names)
    assert "kling-v3-turbo" not in names


@pytest.mark.parametrize("state", [state for state in State if state is not State.SUCCEEDED])
def test_a_subject_that_has_not_succeeded_is_usable_with_none(state: State) -> None:
    assert public_subject(make_subject(state=state))["usable_with"] is None


async def test_usable_with_is_set_once_the_subject_has_succeeded(api: Api) -> None:
    made = await api.create()
    assert made["usable_with"] is None
    await api.work(Work.SUBMIT)
    assert (await api.wait_until_finished(made["id"]))["usable_with"] == list(
        MODELS_BY_REFERENCE_TYPE[IMAGE]
    )
