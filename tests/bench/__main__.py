"""The figures, as ratios to floors measured in the same run: `make bench`."""

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

import uvloop

from service.local.stack import stack
from tests.bench.floor import floor
from tests.bench.latency import accepted_to_provider, callback_to_subscriber

SAMPLES = 500
RATE = 100.0  # a second
# Every subject is with the provider at once, and nothing is asked for meanwhile.
SETTINGS = {"CALLSHEET_PROVIDER_PARALLEL": "100000", "CALLSHEET_POLL_AFTER": "3600"}


def main() -> int:
    """Run every row; the exit code says only whether they ran."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder) / "stack", SETTINGS, keep=False) as running,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        url = running.env["CALLSHEET_DATABASE_URL"]
        floors = runner.run(floor(url, SAMPLES, RATE))
        rows = {
            "accepted → provider has it": runner.run(accepted_to_provider(running, SAMPLES, RATE)),
            "callback received → subscriber has it": runner.run(
                callback_to_subscriber(running, SAMPLES, RATE)
            ),
        }
        again = runner.run(floor(url, SAMPLES, RATE))
    _print(floors + again, rows)
    return 0


def _print(floors: list[float], rows: dict[str, list[float]]) -> None:
    base = median(floors)
    print(f"{SAMPLES} samples at {RATE:g} a second; milliseconds; default Postgres durability\n")
    print(f"{'':40}{'median':>9}{'p99':>9}{'x floor':>9}")
    _row("floor: one commit + one POST", floors, base)
    for name, samples in rows.items():
        _row(name, samples, base)


def _row(name: str, samples: list[float], base: float) -> None:
    middle = median(samples)
    print(f"{name:40}{middle:9.2f}{quantiles(samples, n=100)[-1]:9.2f}{middle / base:9.2f}")


if __name__ == "__main__":
    sys.exit(main())
