"""The command line: `callsheet …`, the same as `python -m service …`."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from service.cli_arguments import parser

NOBODY_READS: Final = 128 + signal.SIGPIPE  # what a shell says of who is ended by that signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` None: those of this process."""
    given = parser().parse_args(arguments)
    from service import cli_commands  # noqa: PLC0415 - a second, which `--help` need not wait for

    try:
        code = cli_commands.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads what is printed has enough of it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    return code
