"""Strangers' texts, made safe to keep and to show; bytes as Base64url."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.text import (
    MAX_TEXT,
    clean_text,
    decode_base64url,
    encode_base64url,
    escape_unprintable,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"a": "b\\n"}', '{"a": "b\\n"}'),
        ("größe 写".encode(), "größe 写"),
        (b"a\r\n\tb", "a\\r\\n\\tb"),
        (b"\x1b[2J\x00\x7f", "\\x1b[2J\\x00\\x7f"),
        ("\u202eabc\u2028\u200b".encode(), "\\u202eabc\\u2028\\u200b"),
        ("\U000e0041".encode(), "\\U000e0041"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"<script>", "<script>"),
        (b"", ""),
    ],
)
def test_what_does_not_show_is_spelled_out(raw: bytes, text: str) -> None:
    assert escape_unprintable(raw) == text


@given(st.binary())
def test_whatever_comes_can_be_shown(raw: bytes) -> None:
    assert escape_unprintable(raw).isprintable()


@given(st.binary())
def test_bytes_are_read_as_they_were_written(raw: bytes) -> None:
    assert decode_base64url(encode_base64url(raw)) == raw


@pytest.mark.parametrize("text", ["AA==", "A", "A A", "A\n", "Ä"])
def test_what_is_no_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asks says what is wrong
        decode_base64url(text)


@given(st.text(st.characters(), max_size=MAX_TEXT + 1))
def test_a_text_is_cut_and_fit_for_any_store(text: str) -> None:
    cleaned = clean_text(text)
    assert len(cleaned) <= MAX_TEXT
    assert "\0" not in cleaned.encode().decode()
