"""`callsheet web` without the metrics of a callback: what counts and observes does nothing.

    python -m tests.bench.unmeasured_web

The clock is still read where a duration begins and ends, four times a callback: some tenths of a
microsecond.
"""

import sys

from service.callbacks.steps import ingest
from service.cli import main
from service.kit.http import answered_requests
from service.kit.instruments import Count, Distribution
from service.metrics import CALLBACK_COMMIT


def _nothing(*_: object) -> None:
    pass


def _measure_nothing() -> None:
    """Instruments without labels have their methods already: so what calls them is replaced too."""
    for owner, name in (
        (Count, "inc"),
        (Distribution, "observe"),
        (ingest, "count_transitions"),
        (ingest, "_count_verdicts"),
        (answered_requests, "observe_request"),
        (CALLBACK_COMMIT, "observe"),
    ):
        setattr(owner, name, _nothing)


if __name__ == "__main__":
    _measure_nothing()
    sys.exit(main(["web"]))
