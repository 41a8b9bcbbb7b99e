"""Times as they are written, read and shown."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from service.kit.timestamps import (
    EPOCH,
    FIRST,
    LAST,
    MAX_MILLISECONDS,
    format_rfc3339,
    from_milliseconds,
    parse_duration,
    parse_retry_after,
    parse_rfc3339,
    seconds_between,
    to_milliseconds,
)
from tests.support.api import Api

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_times_are_shown_in_utc_with_milliseconds() -> None:
    assert format_rfc3339(datetime(2026, 1, 2, 3, 4, 5, 678999, UTC)) == "2026-01-02T03:04:05.678Z"
    assert format_rfc3339(None) is None


def test_no_time_is_less_than_nothing_although_a_clock_is_behind() -> None:
    assert seconds_between(NOW, NOW + timedelta(seconds=2.5)) == 2.5
    assert seconds_between(NOW, NOW - timedelta(milliseconds=1)) == 0


def test_a_time_is_read_in_any_zone_and_not_without_one() -> None:
    assert parse_rfc3339("2026-01-02T04:04:05.678+01:00") == datetime(
        2026, 1, 2, 3, 4, 5, 678000, UTC
    )
    for given_text in ("2026-01-02T03:04:05", "soon", "", "9999-12-31T23:59:59-01:00"):
        assert parse_rfc3339(given_text) is None


@pytest.mark.parametrize(
    ("given_text", "read"),
    [
        ("0001-01-01T00:00:00Z", FIRST),
        ("9999-12-31T22:59:59.999999-01:00", LAST),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
async def test_the_first_and_the_last_moment_are_read_as_times_that_postgres_gives_back(
    api: Api, given_text: str, read: datetime
) -> None:
    """A microsecond further out it would keep an infinity, which is read back without a zone."""
    moment = parse_rfc3339(given_text)
    assert moment == read
    statement = text("SELECT CAST(:moment AS timestamptz)")
    async with api.resources.database.autocommit() as tx:
        assert await tx.scalar(statement, {"moment": moment}) == read


@given(st.integers(0, MAX_MILLISECONDS - 1))
def test_milliseconds_are_read_as_they_are_written(number: int) -> None:
    moment = from_milliseconds(number)
    assert moment is not None
    assert to_milliseconds(moment + timedelta(microseconds=999)) == number


@pytest.mark.parametrize("value", [True, -1, MAX_MILLISECONDS, 1.0, "1", None, [], 10**400])
def test_what_names_no_time_is_none(value: object) -> None:
    assert from_milliseconds(value) is None
    assert from_milliseconds(0) == EPOCH


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1), ("90s", 90), ("5m", 300), ("1h", 3600), ("2d", 172_800)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, 172_800) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "1 h", "h", "\u0661", "3d", "1" * 10])
def test_any_other_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 172800 seconds"):
        parse_duration(text, 172_800)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("9" * 64, 1e64),
        ("9" * 65, None),
        ("-5", None),
        ("1.5", None),
        ("١٢", None),
        ("soon", None),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90),
        ("Sun Mar  1 12:01:30 2026", 90),
        ("Sun, 01 Mar 2026 13:01:30 +0100", 90),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2026 25:00:00 GMT", None),
        ("Thu, 01 Jan 9999 23:59:59 -9999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, wait: float | None) -> None:
    assert parse_retry_after(text, NOW) == wait


@given(
    st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001
        datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))),
    )
)
def test_any_date_in_any_zone_is_read(date: datetime) -> None:
    whole = date.replace(microsecond=0)
    wait = parse_retry_after(format_datetime(whole), NOW)
    assert wait == max(0, (whole - NOW).total_seconds())


@given(st.text() | st.from_regex(r"[A-Za-z]{3},? [0-9 :A-Za-z+-]{0,40}"))
def test_any_text_gives_a_wait_or_none(text: str) -> None:
    wait = parse_retry_after(text, NOW)
    assert wait is None or wait >= 0


@pytest.mark.parametrize("space", ["\x1c", "\x0b", "\x85", "\u2003"])
def test_only_blanks_and_tabs_may_surround_a_retry_after(space: str) -> None:
    assert parse_retry_after(f"5 {space}", NOW) is None
    assert parse_retry_after(" \t5\t ", NOW) == 5
