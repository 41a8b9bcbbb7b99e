"""A request is validated from what was sent alone: no database, and nothing that waits."""

import pytest

from service.intake.domain.create_request import CreateRequest
from service.intake.steps.validate import (
    MAX_BATCH,
    MAX_BATCH_KEY_LENGTH,
    MAX_KEY_LENGTH,
    callback_url_errors,
    validate,
    validate_many,
)
from service.kit.errors import Invalid
from service.settings import Settings, read_settings
from tests.support.request_bodies import image_url_body

ENVIRON = {
    "CALLSHEET_DATABASE_URL": "postgresql://u:p@localhost/db",
    "CALLSHEET_REDIS_URL": "redis://localhost:6379/0",
    "CALLSHEET_PUBLIC_URL": "https://callsheet.example.com/",
    "CALLSHEET_SECRET_KEY": "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seSwgMzIgYnk=",
    "CALLSHEET_PROVIDER_API_KEY": "a-provider-key",
    "CALLSHEET_TASK_DEADLINE": "3600",
}


@pytest.fixture
def settings() -> Settings:
    return read_settings(ENVIRON)


def codes(error: Invalid) -> list[str]:
    return [field_error.code for field_error in error.errors]


def test_a_request_holds_who_asks_and_what_the_headers_say(settings: Settings) -> None:
    request = validate(settings, "acc_1", image_url_body(), "key", "5m")
    assert (request.account_id, request.idempotency_key) == ("acc_1", "key")
    assert request.cancel_after == 300
    assert request.document == image_url_body()
    plain = validate(settings, "acc_1", image_url_body())
    assert (plain.idempotency_key, plain.cancel_after, plain.must_be_new) == (None, None, False)


def test_what_is_wrong_with_headers_and_body_is_said_at_once(settings: Settings) -> None:
    with pytest.raises(Invalid) as raised:
        validate(settings, "acc_1", image_url_body(element_name=""), "a\tb", "3601")
    assert codes(raised.value) == ["idempotency_key", "cancel_after", "blank"]


def test_each_request_of_a_batch_has_a_key_of_its_own(settings: Settings) -> None:
    longest = "k" * MAX_BATCH_KEY_LENGTH
    first, wrong, last = validate_many(
        settings, "acc_1", [image_url_body(), "what is this", image_url_body()], longest, "90"
    )
    assert isinstance(first, CreateRequest)
    assert isinstance(wrong, Invalid)
    assert isinstance(last, CreateRequest)
    assert (first.idempotency_key, last.idempotency_key) == (f"{longest}/0", f"{longest}/2")
    assert (first.cancel_after, last.cancel_after) == (90, 90)
    assert len(f"{longest}/{MAX_BATCH - 1}") < MAX_KEY_LENGTH


def test_a_batch_is_refused_whole_for_its_headers(settings: Settings) -> None:
    with pytest.raises(Invalid) as raised:
        validate_many(
            settings, "acc_1", [image_url_body()], "k" * (MAX_BATCH_KEY_LENGTH + 1), "soon"
        )
    assert codes(raised.value) == ["idempotency_key", "cancel_after"]


def test_a_callback_url_is_judged_by_its_text(settings: Settings) -> None:
    assert callback_url_errors(settings, "http://back.example.com/done") == []
    with pytest.raises(Invalid) as raised:
        validate(settings, "acc_1", image_url_body(callback_url="https://127.0.0.1/"), "a\tb")
    assert [field_error.pointer for field_error in raised.value.errors] == ["", "/callback_url"]
