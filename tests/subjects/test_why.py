"""The codes of why something waits, and the table of them."""

import re
from datetime import timedelta

from service.local.chart import README
from service.subjects.domain.why import ENDLESS, MENDED_BY, MendedBy, WhyCode, in_words

ROW = re.compile(r"^\| `(\w+)` \|(?:[^|]+\|){2} ([^|]+) \| (\w+) \|$", re.MULTILINE)


def test_each_code_says_who_can_end_it() -> None:
    assert set(MENDED_BY) == set(WhyCode)
    assert set(MENDED_BY.values()) == set(MendedBy)


def test_the_table_has_every_code_who_mends_it_and_whether_a_clock_ends_it() -> None:
    section = README.read_text().split("## Why something waits")[1].split("\n## ")[0]
    found = [(code, mended_by, "null" in until) for code, until, mended_by in ROW.findall(section)]
    assert found == [(code, MENDED_BY[code], code in ENDLESS) for code in WhyCode]


def test_durations_are_rounded_up_in_the_unit_that_fits() -> None:
    words = [in_words(timedelta(seconds=seconds)) for seconds in (-1, 0.2, 119, 120, 7300, 200_000)]
    assert words == ["0 s", "1 s", "119 s", "2 min", "3 h", "3 days"]
