"""Commands of a running stack, with what they printed and how they ended."""

import subprocess
from collections.abc import Mapping

from service.local.stack import PROGRAM, Stack
from tests.drills.report import Report

TIMEOUT = 180.0  # seconds that a command may take


def run_command(
    stack: Stack, *arguments: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the stack's to its end, with these settings added to the stack's."""
    return subprocess.run(  # noqa: S603
        [*PROGRAM, *arguments],
        cwd=stack.folder,
        env={**stack.env, **(settings or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT,
    )


def audit(report: Report, stack: Stack) -> None:
    """Check that the audit finds nothing."""
    done = run_command(stack, "audit")
    found = (done.stdout or done.stderr).strip()
    report.check("the audit finds nothing", holds=found == "0 violations", found=found)
