"""The token in a callback's URL names its subject, and nobody without the key can make one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.domain.url_tokens import callback_token, subject_id_of

KEY = b"k" * 32


def test_a_token_names_its_subject_and_no_other() -> None:
    token = callback_token(KEY, "sub_1")
    assert subject_id_of(KEY, token) == "sub_1"
    assert subject_id_of(KEY, token.replace("sub_1", "sub_2")) is None
    assert subject_id_of(b"x" * 32, token) is None


@pytest.mark.parametrize("token", ["", ".", "sub_1", "sub_1.", ".mac", "\ud800.\ud800", "é.é"])
def test_what_is_no_token_names_nothing(token: str) -> None:
    assert subject_id_of(KEY, token) is None


@given(st.text())
def test_no_text_passes_for_a_token(token: str) -> None:
    assert subject_id_of(KEY, token) is None
