"""The figures, as ratios to floors measured in the same run: `make bench`."""

import argparse
import sys
from collections.abc import Callable, Mapping

from tests.bench.audit import audit
from tests.bench.bodies import bodies
from tests.bench.deliveries import deliveries
from tests.bench.fairness import fairness
from tests.bench.ingest import ingest, with_history
from tests.bench.intake import intake
from tests.bench.latency import latencies
from tests.bench.load import Faulty
from tests.bench.metrics_cost import metrics_cost
from tests.bench.retention import retention
from tests.bench.snapshots import snapshots
from tests.bench.streams import streams
from tests.bench.ten_million import ten_million

ROWS: Mapping[str, tuple[Callable[[], None], str]] = {
    "latency": (latencies, "how long updates take, from end to end; half a minute"),
    "intake": (intake, "taking requests in and reading them; a minute"),
    "bodies": (bodies, "memory of web under fifty large requests at once; a minute and a half"),
    "deliveries": (deliveries, "deliveries of one worker; a minute and a half"),
    "fairness": (
        fairness,
        "what one that hangs costs fifty others; two minutes, or five if it is hard to tell",
    ),
    "ingest": (ingest, "callback ingest; a minute and a half"),
    "metrics": (metrics_cost, "what metrics cost of a callback; two minutes"),
    "history": (
        with_history,
        "the same with 1,000,000 finished subjects; two minutes, 7 GB of disk",
    ),
    "snapshot": (
        snapshots,
        "what waits, with 1,000,000 finished subjects; a minute and a half, 7 GB of disk",
    ),
    "retention": (
        retention,
        "ingest and claims while 1,000,000 subjects are pruned; five minutes, 7 GB of disk",
    ),
    "streams": (streams, "5,000 open event streams in one process; half a minute"),
    "audit": (audit, "an audit of 1,000,000 finished subjects; three minutes, 7 GB of disk"),
    "ten-million": (
        ten_million,
        "callbacks, deliveries, pages, snapshots with 10,000,000 events; ten minutes, 20 GB",
    ),
}
LONG = ["audit", "retention", "ten-million"]  # run by name alone


def main() -> int:
    """Run the rows asked for, or all; 1 if one did not do its work, whatever it took otherwise."""
    try:
        for name in _asked_for():
            ROWS[name][0]()
    except Faulty as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _asked_for() -> list[str]:
    parser = argparse.ArgumentParser(
        "python -m tests.bench",
        description=__doc__,
        epilog="\n".join(f"{name:13}{meaning}" for name, (_, meaning) in ROWS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all but the long ones, if none")
    rows: list[str] = parser.parse_args().rows
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}, only {', '.join(ROWS)}")
    if not rows:
        print(f"all rows but {', '.join(LONG)}, which are run by name")
    return rows or [row for row in ROWS if row not in LONG]


if __name__ == "__main__":
    sys.exit(main())
