"""One who follows: bounded in what it holds, and never with a gap for it."""

from collections.abc import Sequence

import pytest

from service.event_feed.domain.places import START, Position
from service.event_feed.steps import feed_reader
from service.event_feed.steps.feed_reader import Batch, FeedReader
from service.event_feed.store.feed import StoredEvent


class Slow(FeedReader):
    """One who may be cut off."""

    def __init__(self, account_id: str) -> None:
        super().__init__(account_id, None, START)
        self.cuts = 0

    def abort(self) -> None:
        self.cuts += 1


async def nothing(_: FeedReader) -> list[StoredEvent]:
    return []


def batch(number: int, size: int = 10) -> Batch:
    return Batch(
        [StoredEvent(f"evt_{number}", None, "t", number, b"x" * size, Position(1, number))]
    )


def test_one_who_takes_nothing_is_cut_off_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_reader, "MAX_PENDING_BYTES", 100)
    slow = Slow("acc")
    slow.enter(START, nothing)
    for number in range(1, 11):
        slow.push(batch(number))
    assert slow.cuts == 0
    slow.push(batch(11))
    assert slow.cuts == 1
    slow.push(batch(12))
    assert not slow._pending  # noqa: SLF001 - what it holds is what matters


def test_one_batch_is_taken_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_reader, "MAX_PENDING_BYTES", 100)
    slow = Slow("acc")
    slow.enter(START, nothing)
    slow.push(batch(1, 1000))
    assert slow.cuts == 0


async def test_a_reader_that_gets_too_much_while_reading_reads_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_reader, "MAX_PENDING_BYTES", 100)
    slow = Slow("acc")
    database = [batch(number).events[0] for number in range(1, 5)]

    async def read(_: FeedReader) -> list[StoredEvent]:
        found = [event for event in database if event.position > slow.after]
        if len(database) < 40:
            batches = [batch(number) for number in range(len(database) + 1, len(database) + 20)]
            database.extend(batch.events[0] for batch in batches)
            for new_batch in batches:
                slow.push(new_batch)
        return found

    slow.enter(Position(1, 4), read)
    sequences: list[int] = []
    while found := await slow.next_batch():
        sequences += [event.sequence for event in found.events]
    assert sequences == list(range(1, len(database) + 1))
    assert slow.cuts == 0


async def test_one_who_has_not_entered_a_feed_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="not entered"):
        await Slow("acc").next_batch()


def test_a_batch_is_written_out_once_for_all_who_take_all_of_it() -> None:
    written: list[Sequence[StoredEvent]] = []

    def write(events: Sequence[StoredEvent]) -> list[bytes]:
        written.append(events)
        return [b"text"]

    batch_of_one = batch(1)
    for _ in range(3):
        assert batch_of_one.after(START) is batch_of_one
        assert batch_of_one.encoded(write) == [b"text"]
    assert len(written) == 1
    assert batch_of_one.after(Position(1, 1)) is None
