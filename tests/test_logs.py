"""Log lines as a process writes them: JSON objects, or text for people."""

import json
import subprocess
import sys

import pytest

LOGGED = """
import logging, structlog
from service.operations.domain.hold import HoldTarget
from service.kit.request_id import set_request_id
from service.logs import start_logging
start_logging("info", "FORMAT")
log = structlog.get_logger()
log.debug("web", action="hidden")
set_request_id("a-request-id")
log.info("web", action="shown", text="two\\nlines", number=2, word=HoldTarget.INTAKE)
logging.getLogger("a.library").warning("of a library")
try:
    password = "hunter2"
    raise ValueError("why")
except ValueError:
    log.exception("web", action="fault")
"""


def logged(log_format: str) -> list[str]:
    """What a process of its own logs in this format."""
    script = LOGGED.replace("FORMAT", log_format)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=50, text=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_line_is_a_json_object_with_the_request_that_it_is_about() -> None:
    shown, library, fault = [json.loads(line) for line in logged("json")]
    del shown["timestamp"]
    assert shown == {
        "event": "web",
        "action": "shown",
        "text": "two\nlines",
        "number": 2,
        "word": "intake",
        "level": "info",
        "request_id": "a-request-id",
    }
    assert library["event"] == "of a library"
    assert library["request_id"] == "a-request-id"
    assert "ValueError: why" in fault["exception"]


def test_text_is_for_people_and_no_value_makes_a_line_of_its_own() -> None:
    shown, library, *fault = logged("text")
    assert "action='shown'" in shown
    assert shown.index("action=") < shown.index("number=") < shown.index("request_id=")
    assert "text='two\\nlines'" in shown
    assert "request_id='a-request-id'" in shown
    assert "word='intake'" in shown
    assert "of a library" in library
    assert fault[-1] == "ValueError: why"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_shows_no_values_of_variables(log_format: str) -> None:
    assert "hunter2" not in "\n".join(logged(log_format)).replace('password = "hunter2"', "")
