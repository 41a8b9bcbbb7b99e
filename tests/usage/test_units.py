"""What the provider deducted is written by the move that ends a subject, exactly or not at all."""

from decimal import Decimal
from typing import Any

import pytest

from service.provider.domain.results import parse_units
from service.subjects.domain.lifecycle import Signal, State
from service.subjects.domain.subject import StatusUpdate
from service.subjects.steps.transition import transition
from tests.support.api import Api
from tests.support.callbacks import current_callback, legacy_callback, signed_headers
from tests.support.database import fetch
from tests.support.subjects import RESULT, subject_in_state


async def row_of(api: Api, subject_id: str) -> dict[str, Any]:
    rows = await fetch(
        api.resources, "SELECT state, units, creates_saved FROM subjects WHERE id = $1", subject_id
    )
    return rows[0]


async def call_back(api: Api, body: bytes) -> None:
    headers = signed_headers(body, api.resources.clock())
    response = await api.http.post("/callbacks", content=body, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1.5", "1.5"),
        ("0", "0"),
        ("007.250", "7.250"),
        ("999999999999999.999999999", "999999999999999.999999999"),
        *(
            (text, None)
            for text in ("1000000000000000", "0.0000000001", "9" * 2000, "", "-1", "+1")
        ),
        *(
            (text, None)
            for text in (
                "1e5",
                "NaN",
                "Infinity",
                "1,5",
                " 1",
                "1\n",
                "1.",
                ".5",
                "\N{ARABIC-INDIC DIGIT ONE}",
            )
        ),
        (None, None),
    ],
)
def test_only_a_plain_decimal_within_bounds_is_a_number_of_units(
    text: str | None, units: str | None
) -> None:
    assert parse_units(text) == (None if units is None else Decimal(units))


async def test_units_are_written_with_the_end_in_both_shapes_and_of_failed_tasks_too(
    api: Api,
) -> None:
    first, second, third, fourth = [(await api.create())["id"] for _ in range(4)]
    await call_back(api, legacy_callback(first, task="1", final_unit_deduction="1.50"))
    billing = {"final_unit_deduction": "0.3"}
    await call_back(api, current_callback(second, task="2", billing=billing))
    await call_back(api, legacy_callback(third, "failed", task="3", final_unit_deduction="2"))
    await call_back(api, legacy_callback(fourth, task="4", final_unit_deduction="1e9; DROP"))
    assert [await row_of(api, id_) for id_ in (first, second, third, fourth)] == [
        {"state": "succeeded", "units": Decimal("1.50"), "creates_saved": 0},
        {"state": "succeeded", "units": Decimal("0.3"), "creates_saved": 0},
        {"state": "failed", "units": Decimal(2), "creates_saved": 0},
        {"state": "succeeded", "units": None, "creates_saved": 0},
    ]
    shown = await api.read(fourth)
    assert shown["subject"]["final_unit_deduction"] == "1e9; DROP"


async def test_units_of_a_task_that_has_not_ended_are_not_written(api: Api) -> None:
    subject_id = (await api.create())["id"]
    await call_back(api, legacy_callback(subject_id, "processing", final_unit_deduction="1"))
    assert await row_of(api, subject_id) == {
        "state": "processing",
        "units": None,
        "creates_saved": 0,
    }


@pytest.mark.parametrize(
    ("update", "saved"),
    [
        (StatusUpdate(Signal.SUBMITTED, provider_task_id="1"), 1),
        (StatusUpdate(Signal.SUCCEEDED, provider_task_id="1", result=RESULT), 1),
        (StatusUpdate(Signal.FAILED, provider_task_id="1", error={"code": "provider_failed"}), 1),
        (StatusUpdate(Signal.ABSENT), 0),
        (StatusUpdate(Signal.DEADLINE, error={"code": "deadline_exceeded"}), 0),
    ],
)
async def test_a_create_is_saved_where_a_lost_answer_turns_out_to_have_a_task(
    api: Api, update: StatusUpdate, saved: int
) -> None:
    subject_id = await subject_in_state(api, State.UNCONFIRMED)
    await transition(api.resources, subject_id, update)
    assert (await row_of(api, subject_id))["creates_saved"] == saved
