"""Custom headers of a subscriber: names, values, number, size, and masks for secrets."""

import pytest

from service.kit.validation import ValidationContext
from service.subscribers.domain.custom_headers import MASK, mask_secrets, read_headers

NEITHER_YOURS_NOR_OURS = (
    *("Host", "connection", "Keep-Alive", "TE", "trailer", "Transfer-Encoding", "upgrade"),
    *("expect", "Content-Length", "content-type", "Content-Encoding", "Proxy-Authorization"),
    *("proxy-connection", "webhook-id", "Webhook-Signature", "callsheet-attempt", "User-Agent"),
    *("Accept-Encoding", "Nats-Msg-Id", "ce-id", "HTTP2-Settings"),
)


def field_errors(headers: object) -> list[tuple[str, str]]:
    context = ValidationContext()
    read_headers(context, "/headers", headers)
    return [(error.pointer, error.code) for error in context.errors]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer abc.def"},
        {"X-Team": "two words", "x-other": ""},
        {"!#$%&'*+-.^_`|~09azAZ": "~!"},
        {"x" * 64: "y"},
        {"accept": "*/*", "Cookie": "a=b; c=d", "hostess": "x", "content": "x"},
    ],
)
def test_valid_headers_are_accepted(headers: dict[str, str]) -> None:
    assert field_errors(headers) == []


@pytest.mark.parametrize("name", NEITHER_YOURS_NOR_OURS)
def test_headers_of_the_message_and_reserved_ones_are_refused(name: str) -> None:
    assert field_errors({name: "x"}) == [(f"/headers/{name}", "header_not_allowed")]


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", ":path", "a\r\nb", "ü", "a\0", "x" * 65, "a(b)"]
)
def test_a_name_is_a_token(name: str) -> None:
    ((_, code),) = field_errors({name: "x"})
    assert code == "header_name"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "\r", "\0", "\t", " a", "a ", "ü", "\x7f"])
def test_a_value_is_visible_and_in_one_line(value: str) -> None:
    assert field_errors({"X-A": value}) == [("/headers/X-A", "header_value")]


def test_a_value_is_a_text() -> None:
    values: tuple[object, ...] = (None, 5, True, ["a"], {})
    for value in values:
        assert field_errors({"X-A": value}) == [("/headers/X-A", "wrong_type")]


def test_a_name_stands_once_whatever_its_case() -> None:
    assert field_errors({"X-A": "1", "x-a": "2", "X-B": "3"}) == [
        ("/headers/x-a", "duplicate_header")
    ]


def test_a_pointer_to_a_strange_name_is_escaped() -> None:
    assert field_errors({"a/b": "x"}) == [("/headers/a~1b", "header_name")]


def test_secrets_are_masked() -> None:
    secret = ("Authorization", "Cookie", "X-Api-Key", "x-token", "Client-Secret", "my-PASSWORD")
    assert mask_secrets(dict.fromkeys((*secret, "X-Signature", "X-Auth"), "hidden")) == (
        dict.fromkeys((*secret, "X-Signature", "X-Auth"), MASK)
    )
    assert mask_secrets({"X-Team": "a", "Accept": "b"}) == {"X-Team": "a", "Accept": "b"}


def test_the_mask_is_not_taken_for_the_value() -> None:
    assert field_errors({"Authorization": MASK}) == [("/headers/Authorization", "header_masked")]
    assert field_errors({"X-Team": MASK}) == []
