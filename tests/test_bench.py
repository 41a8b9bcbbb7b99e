"""What `make bench` writes by itself, the rows of its plain service and a long history; and how it
judges."""

import pytest
from starlette.requests import Request

from service.kit.crypto.key_formats import parse_whsec
from service.wiring import utc_now
from tests.bench import aims, history
from tests.bench.intervals import of_median
from tests.bench.plain_service import PlainService
from tests.conftest import WEBHOOK_SECRET
from tests.support.api import Api
from tests.support.callbacks import legacy_callback, signed_headers
from tests.support.database import fetch
from tests.support.ingestion import post_callback, state_of, submitted_subject

ROWS = """
    SELECT e.type, e.sequence, d.ordering_key = e.subject_id AS is_ordered, d.state, c.verdict
    FROM events e JOIN deliveries d ON d.event_id = e.id JOIN callbacks c USING (subject_id)
    WHERE e.subject_id = $1 AND e.type = 'subject.succeeded'
"""


async def test_the_plain_service_writes_the_rows_that_callsheet_writes(
    api: Api, database_url: str
) -> None:
    url = "http://127.0.0.1:65009/"
    (await api.http.post("/v1/subscribers", json={"url": url})).raise_for_status()
    by_callsheet, by_plain_service = [
        await submitted_subject(api, task) for task in ("task_1", "task_2")
    ]
    await post_callback(api, by_callsheet, legacy_callback(by_callsheet, task="task_1"))
    body = legacy_callback(by_plain_service, task="task_2")
    service = PlainService(database_url, [parse_whsec(WEBHOOK_SECRET)])
    answer = await service.receive(_request(body))
    assert answer.status_code == 200
    assert await state_of(api, by_plain_service) == "succeeded"
    rows = await fetch(api.resources, ROWS, by_plain_service)
    assert len(rows) == 1
    assert rows == await fetch(api.resources, ROWS, by_callsheet)


async def test_a_filled_history_is_read_as_subjects_that_succeeded(
    api: Api, account: str, database_url: str
) -> None:
    wanted = ["subject.succeeded"]
    subscriber = await api.subscribe("http://127.0.0.1:65009/", event_types=wanted)
    await history.fill(database_url, [(account, subscriber["id"])], count=10)
    subjects = (await api.http.get("/v1/subjects")).json()["data"]
    assert [subject["state"] for subject in subjects] == ["succeeded"] * 10
    path = f"/v1/subscribers/{subscriber['id']}/deliveries"
    deliveries = (await api.http.get(path)).json()["data"]
    assert [delivery["state"] for delivery in deliveries] == ["delivered"] * 10
    assert await api.violations() == []


@pytest.mark.parametrize(
    ("figure", "aim", "text"),
    [
        (0.36, aims.least(0.36), "0.36 (aim: >= 0.36): met"),
        (0.35, aims.least(0.36), "0.35 (aim: >= 0.36): NOT met"),
        (1.5, aims.most(1.5), "1.50 (aim: <= 1.5): met"),
        (81.2, aims.most(80), "81 (aim: <= 80): NOT met"),
    ],
)
def test_a_figure_is_judged_by_its_aim(figure: float, aim: aims.Aim, text: str) -> None:
    assert aims.judged(figure, aim) == text


def test_a_median_is_known_within_an_interval_from_six_figures_on() -> None:
    assert of_median([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert of_median([6.0, 1.0, 2.0, 3.0, 4.0, 5.0]) == (1.0, 6.0)
    assert of_median([float(n) for n in range(1, 21)]) == (6.0, 15.0)


def _request(body: bytes) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    signed = signed_headers(body, utc_now(), "msg_2").items()
    headers = [(name.lower().encode(), value.encode()) for name, value in signed]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)
