"""How long `callsheet audit` takes with a million finished subjects, and how long that is for each
event; beside the same on an empty database."""

import asyncio
import json

from service.local.stack import Stack
from tests.bench import aims, history
from tests.bench.database import execute
from tests.bench.ingest import OTHER_ACCOUNTS
from tests.bench.measure import ACCOUNT
from tests.bench.servers import listener, second, serving

EVENTS = 10_000_000  # for which the seconds are reckoned too
WANTED = "UPDATE subscribers SET event_types = '{subject.succeeded}'"  # what the history delivered


def audit() -> None:
    """Not in the default run: what it measures is a command that an operator waits for."""
    with serving() as running, second(running) as full:
        accounts = [listener(full, name) for name in (ACCOUNT, *OTHER_ACCOUNTS)]
        url = full.env["CALLSHEET_DATABASE_URL"]
        filled = asyncio.run(history.fill(url, accounts))
        execute(url, WANTED)
        print(f"\nan audit with {history.SUBJECTS:,} finished subjects; {filled}", flush=True)
        _show("empty", running)
        _show("full", full)
        seconds, events = _show("full, again", full)
    reckoned = aims.judged(seconds * EVENTS / events, aims.AUDIT)
    print(f"  seconds for {EVENTS:,} events at that pace: {reckoned}")


def _show(name: str, side: Stack) -> tuple[float, int]:
    """Run the audit, and print the seconds and the events of it."""
    report = json.loads(side.call("audit", "--json"))
    seconds, events = report["seconds"], report["checked"]["events"]
    print(f"  {name:14}{seconds:8.2f} s   {events:,} events", flush=True)
    return seconds, events
