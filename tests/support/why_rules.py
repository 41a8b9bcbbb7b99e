"""What holds of every reason to wait, whatever waits."""

from datetime import datetime

from service.subjects.domain.why import ENDLESS, MENDED_BY, Why, why_member


def check_why(why: Why, now: datetime) -> None:
    """Assert that a reason is whole: a sentence, bounds on either side of `now`, and who can end
    it."""
    assert why.text[0].isupper()
    assert why.text.endswith(".")
    assert "\n" not in why.text
    assert "None" not in why.text
    assert why.since <= now
    if why.until is None:
        assert why.code in ENDLESS
    else:
        assert why.until > now
    (shown,) = why_member(why).values()
    assert set(shown) == {"code", "text", "since", "until", "mended_by"}
    assert shown["mended_by"] == MENDED_BY[why.code]
