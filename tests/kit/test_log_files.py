"""Log files are read back line by line, whatever else is in them."""

import io
import json

from service.kit.log_files import MAX_LINE, ids_of_lines


def line(**members: object) -> bytes:
    return json.dumps({"action": "subject_erased", **members}).encode() + b"\n"


def read(*lines: bytes) -> list[str]:
    return list(ids_of_lines(io.BytesIO(b"".join(lines)), "subject_erased", "subject"))


def test_lines_of_the_action_are_read_and_all_others_skipped() -> None:
    assert read(
        line(subject="sub_1"),
        line(subject="sub_2", action="transition", signal="subject_erased"),
        b"2026-11-30T21:00:00Z stderr F " + line(subject="sub_3"),
        b'text for people action=subject_erased subject=sub_4\n{"action": "subject_erased"\n',
        b'["subject_erased"]\n\xff\xfe subject_erased {\n\n',
        line(subject=5),
        line(subject="sub 6\u0000"),
        line(subject="s" * 101),
        line(),
        b'"subject_erased"' + b"[" * 20_000 + b"\n",
        line(subject="sub_7").rstrip(),
    ) == ["sub_1", "sub_3", "sub_7"]


def test_a_line_that_is_too_long_is_skipped_whole() -> None:
    inside = line(subject="sub_2").rstrip()
    for before in range(3):
        long = b"x" * (MAX_LINE * (1 + before)) + inside + b"\n"
        assert read(line(subject="sub_1"), long, line(subject="sub_3")) == ["sub_1", "sub_3"]
    whole = line(subject="sub_1", padding="")
    padded = line(subject="sub_1", padding="x" * (MAX_LINE - len(whole)))
    assert len(padded) == MAX_LINE
    assert read(padded) == ["sub_1"]
