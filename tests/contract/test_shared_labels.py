"""Labels that processes and operators share, letter by letter: a process of another release locks,
notifies and enqueues by these, and ids of stored rows begin with them.
"""

import re
from pathlib import Path

import service
from service.intake.store import insert
from service.subjects.domain.event import event_id
from service.subjects.domain.work import Work
from service.subjects.store import events
from service.subjects.store.work import WORK_CHANNEL
from service.submission.store.provider_state import CLAIM_LOCK

PACKAGE = Path(service.__file__).parent
SOURCES = [path.read_text() for path in PACKAGE.rglob("*.py") if "local" not in path.parts]
ENVIRONMENT = PACKAGE.parent / "migrations" / "env.py"


def found(pattern: str) -> set[str]:
    """What the one group of a pattern matches anywhere in the service."""
    return {text for source in SOURCES for text in re.findall(pattern, source)}


def test_claims_and_migrations_lock_the_same_numbers() -> None:
    assert CLAIM_LOCK == 0x63616C6C73686565
    assert "\nMIGRATION_LOCK = 0x6D696772_61746573\n" in ENVIRONMENT.read_text()


def test_queues_are_locked_by_the_same_text() -> None:
    assert "hashtextextended('queue ' || account_id, 0)" in str(insert._LOCK_QUEUES)  # noqa: SLF001


def test_feeds_and_workers_are_notified_on_the_same_channels() -> None:
    assert events.NOTIFY_CHANNEL == "callsheet_events"
    assert WORK_CHANNEL == "callsheet_work"
    assert {work.value for work in Work} == {
        *("check_media", "submit", "reconcile", "deliver", "operate", "erase"),
    }


def test_ids_begin_with_the_same_prefixes() -> None:
    assert found(r'(?:new_id|first_id)\(\s*"(\w+)"') == {
        *(
            "acc",
            "att",
            "cbk",
            "evt_test",
            "hld",
            "ins",
            "key",
            "lse",
            "opr",
            "rdy",
            "req",
            "sbr",
            "sec",
        ),
        "sub",
    }
    assert event_id("sub_01kcr4", 3) == "evt_01kcr4_3"
    assert events.delivery_id_sql("e", "s") == "'dlv_' || substr(e, 5) || '_' || substr(s, 5)"
    assert found(r'name="(create_subject)"') == {"create_subject"}
