"""Strangers' bytes, made safe to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.escaping import escaped


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
    assert escaped(raw) == text


@given(st.binary())
def test_whatever_comes_can_be_shown(raw: bytes) -> None:
    assert escaped(raw).isprintable()
