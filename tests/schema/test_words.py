"""Words in SQL are those of the types for them: a constraint refuses what is written, and nobody
sees a word that is looked for in vain."""

import re
from pathlib import Path

import pytest

import service
from service.callbacks.domain.callback import Verification
from service.callbacks.domain.verdicts import Verdict
from service.delivery.domain.delivery_state import DeliveryState
from service.operations.domain.hold import HoldTarget
from service.operations.domain.operation import OperationKind, OperationState
from service.subjects.domain.event import HealthNotice
from service.subjects.domain.lifecycle import State
from service.subscribers.domain.subscriber import Ordering, SubscriberState, SubscriberType

WORDS = {
    "state": {*State, *DeliveryState, *SubscriberState, *OperationState},
    "type": set(SubscriberType),
    "ordering": set(Ordering),
    "status": set(HealthNotice),
    "verdict": set(Verdict),
    "verification": set(Verification),
    "what": {*HoldTarget, *OperationKind},
}
SOURCES = sorted(Path(service.__file__).parent.glob("*/store/*.py"))
COMPARED = re.compile(rf"\b({'|'.join(WORDS)}) (?:=|<>|IN) (\([^(){{}}]*\)|'[a-z_]+')")


def compared(sql: str) -> list[tuple[str, str]]:
    """The columns that a text compares with words, and each of these words."""
    return [
        (column, word)
        for column, given in COMPARED.findall(sql)
        for word in re.findall(r"'([a-z_]+)'", given)
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: "/".join(source.parts[-3:]))
def test_sql_compares_with_words_that_there_are(source: Path) -> None:
    strange = [
        (column, word) for column, word in compared(source.read_text()) if word not in WORDS[column]
    ]
    assert strange == []


def test_the_words_are_found() -> None:
    sql = "WHERE d.state = 'pending' AND s.type <> 'callback' AND e.verdict IN ('late', 'gone')"
    assert compared(sql) == [
        ("state", "pending"),
        ("type", "callback"),
        ("verdict", "late"),
        ("verdict", "gone"),
    ]
    assert sum(len(compared(source.read_text())) for source in SOURCES) > 50
