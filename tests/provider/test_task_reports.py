"""Task reports: both shapes, every status word, and nothing raised but Malformed."""

import json
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.errors import Malformed
from service.kit.timestamps import from_milliseconds, to_milliseconds
from service.provider.domain.task_reports import (
    TaskReport,
    TaskStatus,
    parse_json_object,
    read_callback,
    read_task_record,
)
from tests.support.task_records import BIG, CURRENT_RECORD, ELEMENT, LEGACY_RECORD, RESULT


def raw(record: object) -> bytes:
    return json.dumps(record).encode()


def test_the_legacy_shape_is_read() -> None:
    assert read_callback(raw(LEGACY_RECORD)) == TaskReport(
        provider_task_id="831922345719271433",
        external_task_id="sub_01",
        status=TaskStatus.SUCCEEDED,
        status_word="succeed",
        message="",
        created_at=from_milliseconds(1781080778802),
        updated_at=from_milliseconds(1781080794151),
        result=RESULT
        | {"element_image_list": ELEMENT["element_image_list"] | {"refer_images": []}},
        final_unit_deduction="1.5",
    )


def test_the_current_shape_says_the_same_in_other_words() -> None:
    report = read_callback(raw(CURRENT_RECORD))
    assert report.result is not None
    voice = {key: value for key, value in RESULT["voice"].items() if key != "owned_by"}
    tags = [{"id": "102", "name": "person", "description": "A person"}]
    video_list = {"refer_videos": [{"video_url": "https://p.example.com/1.mp4"}]}
    assert report.result == RESULT | {
        "voice": voice,
        "tags": tags,
        "element_video_list": video_list,
    }
    legacy = read_task_record(LEGACY_RECORD)
    assert (report.provider_task_id, report.external_task_id, report.status) == (
        legacy.provider_task_id,
        legacy.external_task_id,
        legacy.status,
    )
    assert (report.created_at, report.updated_at) == (legacy.created_at, legacy.updated_at)
    assert report.status_word == "succeeded"


def test_the_consoles_test_callback_is_read() -> None:
    body = {"id": "1", "status": "submitted", "message": "", "create_time": 1, "outputs": []}
    report = read_callback(raw(body))
    assert (report.status, report.result, report.updated_at) == (TaskStatus.SUBMITTED, None, None)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", TaskStatus.SUBMITTED),
        ("processing", TaskStatus.PROCESSING),
        ("succeed", TaskStatus.SUCCEEDED),
        ("succeeded", TaskStatus.SUCCEEDED),
        ("failed", TaskStatus.FAILED),
        ("Succeed", None),
        ("paused", None),
        ("", None),
    ],
)
def test_a_status_word_is_known_or_has_no_status(word: str, status: TaskStatus | None) -> None:
    for report in (
        read_task_record(LEGACY_RECORD | {"task_status": word}),
        read_task_record(CURRENT_RECORD | {"status": word}),
    ):
        assert (report.status, report.status_word) == (status, word)
        assert (report.result is not None) == (status is TaskStatus.SUCCEEDED)


def test_a_failed_task_keeps_its_message_and_what_it_cost() -> None:
    record = LEGACY_RECORD | {
        "task_status": "failed",
        "task_status_msg": "no face\0 found\ud800" + "!" * 3000,
    }
    report = read_task_record(record | {"final_unit_deduction": 2})
    assert report.message.startswith("no face\N{REPLACEMENT CHARACTER} found?!!")
    assert len(report.message) == 2000
    assert report.final_unit_deduction == "2"


def test_an_integer_id_keeps_every_digit() -> None:
    record = {"task_id": BIG, "task_status": "processing", "task_info": {"external_task_id": 7}}
    report = read_callback(raw(record))
    assert (report.provider_task_id, report.external_task_id) == (str(BIG), "7")


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        {"elements": None},
        {"elements": [5, {}, {"element_id": 8.2e17}, {"element_id": True}, {"element_id": ""}]},
    ],
)
def test_success_without_a_subject_is_no_result(result: object) -> None:
    report = read_task_record(LEGACY_RECORD | {"task_result": result})
    assert (report.status, report.result) == (TaskStatus.SUCCEEDED, None)


def test_a_subject_is_kept_as_far_as_it_goes() -> None:
    element = {
        "element_id": "x1",
        "element_voice_info": {"voice_name": "none"},
        "tag_list": [{}, 5],
    }
    report = read_task_record(
        LEGACY_RECORD | {"task_result": {"elements": [{}, element]}, "final_unit_deduction": 0}
    )
    times = {name: RESULT[name] for name in ("provider_created_at", "provider_updated_at")}
    assert report.result == {"element_id": "x1"} | times
    outputs = [
        {
            "type": "element",
            "id": 5,
            "element_type": "?",
            "references": [{"type": "voice", "id": 6}],
        }
    ]
    current = read_task_record(CURRENT_RECORD | {"outputs": outputs, "billing": {"unknown": True}})
    assert current.result == {"element_id": "5", "voice": {"voice_id": "6"}} | times


def test_media_are_kept_by_their_urls_alone() -> None:
    long = "https://a/" + "x" * 8182
    given = {
        "frontal_image": "iVBORw0KGgo=",
        "refer_images": [
            *({"image_url": url} for url in ("HTTPS://a/1?b=c", long, long + "x", "ftp://a", 5)),
            *({"image_url": url} for url in ("", "http://", "https://a b", "https://a/\0")),
            *("https://a/2", None, {}),
        ],
    }
    element = ELEMENT | {"element_image_list": given, "element_video_list": {"refer_videos": 5}}
    result = read_task_record(LEGACY_RECORD | {"task_result": {"elements": [element]}}).result
    assert result is not None
    images = [{"image_url": url} for url in ("HTTPS://a/1?b=c", long)]
    assert result["element_image_list"] == {"refer_images": images}
    assert "element_video_list" not in result


def test_the_current_shapes_images_are_told_apart_by_their_role() -> None:
    roles = ("refer_images", "frontal_image", "")
    materials = [
        {"type": "image", "role": role, "url": f"https://a/{number}"}
        for number, role in enumerate(roles)
    ]
    outputs = [{"type": "element", "id": 5, "references": materials}]
    result = read_task_record(CURRENT_RECORD | {"outputs": outputs}).result
    assert result is not None
    assert result["element_image_list"] == {
        "frontal_image": "https://a/1",
        "refer_images": [{"image_url": "https://a/0"}, {"image_url": "https://a/2"}],
    }


@pytest.mark.parametrize("time", [None, "1781080778802", 1.5, True, -1, 10**14])
def test_what_is_no_time_is_left_out(time: object) -> None:
    for report in (
        read_task_record(LEGACY_RECORD | {"created_at": time, "updated_at": time}),
        read_task_record(CURRENT_RECORD | {"create_time": time, "update_time": time}),
    ):
        assert (report.created_at, report.updated_at) == (None, None)
        assert report.result is not None
        assert not {"provider_created_at", "provider_updated_at"} & set(report.result)


@given(st.integers(1, 10**14 - 1))
def test_a_subject_keeps_the_providers_times_to_the_millisecond(time: int) -> None:
    for record in (
        LEGACY_RECORD | {"created_at": 1, "updated_at": time},
        CURRENT_RECORD | {"create_time": 1, "update_time": time},
    ):
        result = read_task_record(record).result
        assert result is not None
        assert result["provider_created_at"] == "1970-01-01T00:00:00.001Z"
        updated_at = datetime.fromisoformat(result["provider_updated_at"])
        assert to_milliseconds(updated_at) == time


@pytest.mark.parametrize("external", [None, "", 0, "two words", "x" * 129, ["x"]])
def test_what_is_no_external_id_is_left_out(external: object) -> None:
    assert (
        read_task_record(
            LEGACY_RECORD | {"task_info": {"external_task_id": external}}
        ).external_task_id
        is None
    )
    assert read_task_record(LEGACY_RECORD | {"task_info": external}).external_task_id is None
    assert read_task_record(CURRENT_RECORD | {"external_id": external}).external_task_id is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[]",
        b"null",
        b'"task_id"',
        b"{",
        b"{}",
        b'{"task_status": "failed"}',
        b'{"task_id": "1", "id": "1", "task_status": "failed", "status": "failed"}',
        b'{"task_id": "1"}',
        b'{"task_id": "1", "task_status": 5}',
        b'{"task_id": "1", "task_status": {}}',
        b'{"task_id": "1", "status": "failed"}',
        b'{"task_id": "1", "task_status": "failed", "task_status": "succeed"}',
        b'{"task_id": "1", "task_status": "failed", "x": {"a": 1, "a": 1}}',
        b'{"task_id": "1", "task_status": "failed", "x": NaN}',
        b'{"task_id": "1", "task_status": "failed", "x": -Infinity}',
        b'{"task_id": null, "task_status": "failed"}',
        b'{"task_id": "", "task_status": "failed"}',
        b'{"task_id": true, "task_status": "failed"}',
        b'{"task_id": 0, "task_status": "failed"}',
        b'{"task_id": -5, "task_status": "failed"}',
        b'{"task_id": 1.0, "task_status": "failed"}',
        b'{"task_id": "a b", "task_status": "failed"}',
        b'{"task_id": "a\\u0000", "task_status": "failed"}',
        b'{"task_id": "\\ud800", "task_status": "failed"}',
        b'{"task_id": ' + b"9" * 5000 + b', "task_status": "failed"}',
        b'{"task_id": ' + b"9" * 31 + b', "task_status": "failed"}',
        b'{"task_id": "1", "task_status": "failed", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_names_no_task_or_no_status_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_callback(body)


KEY = st.text(max_size=3) | st.sampled_from(
    [
        *LEGACY_RECORD,
        *CURRENT_RECORD,
        *ELEMENT,
        "external_task_id",
        "elements",
        "materials",
        "type",
        "voice_id",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=10,
)


@given(st.binary() | JSON.map(raw))
def test_any_body_is_a_report_or_malformed_and_nothing_else(body: bytes) -> None:
    try:
        report = read_callback(body)
    except Malformed:
        return
    assert isinstance(report, TaskReport)


@given(st.sampled_from([LEGACY_RECORD, CURRENT_RECORD]), st.dictionaries(KEY, JSON))
def test_any_report_is_fit_for_the_store(good: dict[str, Any], changes: dict[str, object]) -> None:
    outputs = [{"type": "element", "id": "5"} | changes]
    elements = {"elements": [ELEMENT | changes]}
    for record in (
        good | changes,
        CURRENT_RECORD | {"outputs": outputs},
        LEGACY_RECORD | {"task_result": elements},
    ):
        try:
            report = read_task_record(record)
        except Malformed:
            continue
        text = orjson.dumps(
            [report.status_word, report.message, report.result]
        )  # refuses half surrogates
        assert b"\\u0000" not in text
        assert report.status is None or report.status in TaskStatus


def test_parse_keeps_every_digit() -> None:
    assert parse_json_object(b'{"a": 123456789012345678901234567890}') == {
        "a": 123456789012345678901234567890
    }


def test_one_byte_order_mark_before_an_object_is_passed_over() -> None:
    assert parse_json_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(Malformed):
        parse_json_object(b"\xef\xbb\xbf\xef\xbb\xbf{}")
