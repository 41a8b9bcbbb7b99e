"""What the demo shows and checks: it must notice what did not hold."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.local.demo import report
from service.local.demo.backend import Backend, ReceivedEvent
from service.local.demo.characters import all_characters
from service.local.demo.checks import checks
from service.local.demo.command import PROGRAMS, no_errors_logged
from service.local.demo.introduction import MAX_WIDTH, print_introduction
from service.local.demo.progress import Progress, Row
from service.local.demo.screen import live_screen
from service.local.processes import Supervisor
from service.local.stack import Stack

CHARACTERS = {
    character.name: character for character in all_characters("http://127.0.0.1:65009/media")
}


def event(sequence: int, state: str) -> dict[str, Any]:
    """One event of the feed."""
    timestamp = f"2026-11-01T12:00:0{sequence}.000Z"
    data = {"state": state, "sequence": sequence}
    return {
        "id": f"evt_{sequence}",
        "timestamp": timestamp,
        "type": f"subject.{state}",
        "data": data,
    }


def row(name: str, *states: str) -> Row:
    """A character that has gone through these states."""
    subject_id = f"sub_{name}"
    subject = {"id": subject_id, "state": states[-1], "version": len(states), "error": None}
    events = [event(index, state) for index, state in enumerate(states, 1)]
    return Row(CHARACTERS[name], 202, {"id": subject_id}, subject, events, len(events))


def backend_with(*rows: Row) -> Backend:
    """A back end that received every event of these rows."""
    backend = Backend(failed_on_purpose=1)
    for row in rows:
        backend.received[row.subject_id or ""] = [
            ReceivedEvent(0.0, event["id"], event["type"], event["data"]["sequence"])
            for event in row.events
        ]
    return backend


def ledger(*ids: str, lookups: tuple[str, ...] = ()) -> dict[str, Any]:
    """A ledger of the simulator with one create for each id, and these look-ups."""
    return {
        "creates": [{"external_task_id": id_} for id_ in ids],
        "lookups": [{"external_task_id": id_, "outcome": "found"} for id_ in lookups],
        "counts": {"peak_running": 1},
    }


def broken(progress: Progress, backend: Backend, provider_ledger: dict[str, Any]) -> list[str]:
    """The sentences that do not hold."""
    return [
        sentence for sentence, holds in checks(progress, backend, provider_ledger, 1) if not holds
    ]


def test_all_holds_when_everything_went_as_foretold() -> None:
    ada, hana = row("Ada", "queued", "succeeded"), row("Hana", "queued", "succeeded")
    progress = Progress([ada, hana], repeat_gave_same_subject=True)
    provider_ledger = ledger("sub_Ada", "sub_Hana", lookups=("sub_Hana",))
    assert broken(progress, backend_with(ada, hana), provider_ledger) == []


def test_each_thing_that_went_wrong_is_named() -> None:
    ada, hana = row("Ada", "queued", "failed"), row("Hana", "queued", "succeeded")
    backend = backend_with(ada)
    backend.unverified, backend.failed_on_purpose = 1, 0
    provider_ledger = ledger("sub_Ada", "sub_Ada", "sub_Hana")
    provider_ledger["counts"]["peak_running"] = 2
    assert broken(Progress([ada, hana]), backend, provider_ledger) == [
        "Ada succeeded",
        "every accepted subject was made at the provider once, or refused by it",
        "never more than 1 subjects were with the provider at once",
        "Hana's end was learnt by asking the provider",
        "the subscriber heard every event of every subject",
        "the same request sent again gave the same subject",
        "every delivery was signed",
        "a delivery that was answered 500 came again",
    ]


@pytest.mark.parametrize("logger", ["structlog.get_logger()", "logging.getLogger()"])
def test_an_error_that_a_process_logged_is_noticed(tmp_path: Path, logger: str) -> None:
    script = "import logging, structlog; from service.logs import start_logging; "
    script += f"start_logging('info', 'json'); {logger}.error('fault')"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=50
    )
    running = Stack(Supervisor(tmp_path), tmp_path, {}, "http://127.0.0.1", "http://127.0.0.1")
    for name in PROGRAMS:
        running.add(name).log.write_text("")
    assert no_errors_logged(running) == ("no process logged an error", True)
    running.child("worker").log.write_bytes(done.stderr)
    assert no_errors_logged(running) == ("no process logged an error", False)


def test_a_gap_in_the_sequence_is_noticed() -> None:
    ada = row("Ada", "queued", "succeeded")
    ada.events[1]["data"]["sequence"] = 3
    sentences = broken(
        Progress([ada], repeat_gave_same_subject=True), backend_with(ada), ledger("sub_Ada")
    )
    assert sentences == ["in the order of their sequence, from 1 and without a gap"]


def test_a_refusal_that_names_too_few_rules_is_noticed() -> None:
    eve = Row(CHARACTERS["Eve"], 422, {"errors": [{"pointer": "/element_name", "message": "long"}]})
    sentences = broken(
        Progress([eve], repeat_gave_same_subject=True), Backend(failed_on_purpose=1), ledger()
    )
    assert sentences == ["Eve was refused with 4 broken rules named"]


def test_the_report_shows_what_did_not_hold() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    ada = row("Ada", "queued", "submitted", "failed")
    ada.subject["error"] = {"code": "provider_failed", "message": "no face"}
    progress = Progress([ada, Row(CHARACTERS["Bo"])])
    report.print_timelines(console, progress)
    report.print_deliveries(console, progress, backend_with(ada))
    assert report.print_checks(console, [("one", True), ("two", False)]) == ["two"]
    text = console.export_text()
    assert "queued 0.00, submitted 1.00, failed 2.00: no face" in text
    assert "1 queued +0, 2 submitted +0, 3 failed +0" in text
    assert "· waiting   ─ with the provider   █ processing   ✓ succeeded   ✗ failed" in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "✓ one" in text
    assert "✗ two" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_reader_is_told_first_what_is_shown_and_why_in_lines_that_can_be_read(
    width: int,
) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    print_introduction(console, 4)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= min(width, MAX_WIDTH)
    assert all(line == line.rstrip() for line in lines)
    text = " ".join(" ".join(lines).split())
    assert text.startswith("What this shows Callsheet stands between a back end and a provider")
    assert "places for 4 subjects" in text
    assert "Twelve subjects are asked for" in text
    assert len(CHARACTERS) == 12
    refused = {
        name
        for name, character in CHARACTERS.items()
        if character.final_state is None or character.error_code
    }
    troubled = {name for name, character in CHARACTERS.items() if character.fault} - refused
    assert (len(refused), len(troubled)) == (2, 6), "as the text has it"


def test_a_terminal_gets_a_table_and_a_bar() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with live_screen(console) as show:
        show(Progress([row("Ada", "queued", "succeeded"), Row(CHARACTERS["Bo"])]))
    text = written.getvalue()
    assert "three JPEG images as Base64" in text
    assert "1 of 2" in text
    assert "● an event that the subscriber received" in text


def test_without_a_terminal_each_change_is_one_line() -> None:
    written = io.StringIO()
    ada = row("Ada", "queued")
    with live_screen(Console(file=written, width=100)) as show:
        for state in ("queued", "queued", "succeeded"):
            ada.subject["state"] = state
            show(Progress([ada, Row(CHARACTERS["Bo"])]))
    first, second = written.getvalue().splitlines()
    assert first.endswith("Ada   queued (three JPEG images as Base64)"), "once, what is special"
    assert second.endswith("Ada   succeeded")
