"""Drills with real processes: `make drill-restore`, `make drill-retention`."""

import argparse
import sys
import traceback
from collections.abc import Callable
from functools import partial

from service.local.errors import LocalError
from service.local.folders import temporary_folder
from tests.drills.copied import copied
from tests.drills.dumped import dumped
from tests.drills.report import Report
from tests.drills.restore import restore
from tests.drills.retention import SUBJECTS, retention

Drill = Callable[..., None]
LOST = 60.0  # seconds that a restore loses


def main() -> int:
    """Run the drills of copies and restores, or those that are named; 1 if a promise broke."""
    drills: dict[str, tuple[str, Drill]] = {
        "copy": ("A copy of the database at another address", copied),
        "restore": ("A restore while web and worker live", partial(restore, restarted=False)),
        "restore-restarted": (
            "A restore with all processes restarted",
            partial(restore, restarted=True),
        ),
        "retention": ("A history is pruned under load", retention),
        "dump": ("A logical dump into a younger cluster", dumped),
    }
    arguments = argparse.ArgumentParser(prog="python -m tests.drills")
    arguments.add_argument("drills", nargs="*", choices=[[], *drills], default=[])
    arguments.add_argument("--lost", type=float, default=LOST, help="seconds that a restore loses")
    arguments.add_argument(
        "--size", type=int, default=SUBJECTS, help="subjects of the history that is pruned"
    )
    given = arguments.parse_args()
    broken = []
    for name in given.drills or [name for name in drills if name != "retention"]:
        title, drill = drills[name]
        report = Report(title)
        with temporary_folder(f"callsheet-drill-{name}-") as folder:
            try:
                drill(report, folder, lost=given.lost, size=given.size)
            except (AssertionError, LocalError) as error:
                traceback.print_exc()
                report.check("the drill comes to its end", holds=False, found=repr(error))
        broken += report.broken
    print(f"\n{len(broken)} promises broken" + "".join(f"\n  {promise}" for promise in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
