"""Single fields: both sides of every limit on a text, a URL, an id, and a name nobody knows."""

import sys
import unicodedata

import pytest

from service.kit.errors import Invalid
from service.kit.validation import MAX_COMPOSED
from tests.support.request_bodies import check, field_errors, image_url_body, video_url_body


@pytest.mark.parametrize(("name", "limit"), [("element_name", 20), ("element_description", 100)])
def test_characters_are_code_points_after_composition(name: str, limit: int) -> None:
    for character in ("x", "\U0001d4b3", "e\u0301", "각", "\u03b1\u0313\u0301\u0345"):
        request = check(image_url_body(**{name: character * limit}))
        assert request.document[name] == unicodedata.normalize("NFC", character * limit)
        assert field_errors(image_url_body(**{name: character * limit + "x"})) == [
            (f"/{name}", "too_long")
        ]


def test_no_character_composes_from_more_than_the_shortcut_reckons_with() -> None:
    every = (chr(number) for number in range(sys.maxunicode + 1))
    assert max(len(unicodedata.normalize("NFD", character)) for character in every) == MAX_COMPOSED


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "blank"),
        (" \u3000", "blank"),
        ("a\nb", "control_character"),
        ("a\x00", "control_character"),
        ("\x7f", "control_character"),
        ("\x9f", "control_character"),
        ("\ud83d", "not_unicode"),
        (True, "wrong_type"),
        (5, "wrong_type"),
        (["Mira"], "wrong_type"),
    ],
)
def test_a_name_is_a_string_of_real_characters(value: object, code: str) -> None:
    assert field_errors(image_url_body(element_name=value)) == [("/element_name", code)]


def test_a_name_of_a_million_accents_is_too_long_and_soon_said_to_be() -> None:
    assert field_errors(image_url_body(element_name="\u0301" * 1_000_000)) == [
        ("/element_name", "too_long")
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "HTTPS://Example.com:8443/p?q=1#f",
        "http://[2001:db8::1]:80/",
        "http://127.0.0.1:1/",
        "https://e.com/" + "x" * (8192 - 14),
    ],
)
def test_an_absolute_url_is_taken(url: str) -> None:
    assert check(image_url_body(callback_url=url)).callback_url == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "url_scheme"),
        ("ftp://e.com/", "url_scheme"),
        ("//e.com/", "url_scheme"),
        ("http:///path", "url_host"),
        ("http://user:pass@e.com/", "url_userinfo"),
        ("http://e.com:0/", "url_port"),
        ("http://e.com:99999/", "url_port"),
        ("http://[::1/", "url_malformed"),
        ("http://e.com/a b", "url_malformed"),
        ("http://e.com\\@f.com/", "url_malformed"),
        ("http://e.com/\ud800", "url_malformed"),
        ("https://e.com/" + "x" * (8193 - 14), "url_too_long"),
        (False, "wrong_type"),
    ],
)
def test_anything_else_is_no_url(url: object, code: str) -> None:
    assert field_errors(image_url_body(callback_url=url)) == [("/callback_url", code)]


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ("v" * 128, []),
        ("v" * 129, ["too_long"]),
        ("a b", ["not_visible"]),
        (7, ["wrong_type"]),
    ],
)
def test_a_voice_id_is_visible_ascii(value: object, codes: list[str]) -> None:
    body = video_url_body(element_voice_id=value)
    if codes:
        assert field_errors(body) == [("/element_voice_id", code) for code in codes]
    else:
        assert check(body).document == body


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ("x", []),
        (" ", []),
        ("\u202e\u2028 \U0001f3ad", []),
        ("é" * 256, []),
        ("x" * 257, ["too_long"]),
        ("", ["too_short"]),
        ("a\n", ["control_character"]),
        ("\x9f", ["control_character"]),
        ("\ud800" * 257, ["too_long", "not_unicode"]),
        (7, ["wrong_type"]),
    ],
)
def test_an_external_id_is_any_text_that_is_not_long(value: object, codes: list[str]) -> None:
    body = image_url_body(external_task_id=value)
    if codes:
        assert field_errors(body) == [("/external_task_id", code) for code in codes]
    else:
        assert check(body).external_task_id == value


def test_an_external_id_is_kept_and_counted_in_nfc() -> None:
    apart = check(image_url_body(external_task_id="e\u0301" * 256))
    composed = check(image_url_body(external_task_id="\u00e9" * 256))
    assert apart.external_task_id == composed.external_task_id == "\u00e9" * 256
    assert apart.fingerprint == composed.fingerprint


@pytest.mark.parametrize(
    ("name", "pointer", "words"),
    [
        ("elementname", "/elementname", "did you mean element_name?"),
        ("callbackUrl", "/callbackUrl", "did you mean callback_url?"),
        ("zzz", "/zzz", "zzz is not a known field"),
        ("a/b~c", "/a~1b~0c", "is not a known field"),
        ("\ud800", "/\\ud800", "is not a known field"),
        ("k" * 999, "/" + "k" * 63 + "…", "is not a known field"),
        (7, "/7", "is not a known field"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_known(
    name: object, pointer: str, words: str
) -> None:
    with pytest.raises(Invalid) as raised:
        check(dict([*image_url_body().items(), (name, 1)]))
    [field_error] = raised.value.errors
    assert (field_error.pointer, field_error.code) == (pointer, "unknown_field")
    assert words in field_error.message


def test_a_composed_and_a_decomposed_name_are_one() -> None:
    names = ("Zoé", "Zoe\u0301")
    assert len({check(image_url_body(element_name=name)).fingerprint for name in names}) == 1
