"""The command line: `callsheet …`, the same as `python -m service …`."""

from collections.abc import Sequence

from service.cli_arguments import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` None: those of this process."""
    given = parser().parse_args(arguments)
    from service import cli_commands  # noqa: PLC0415 - a second, which `--help` need not wait for

    return cli_commands.run(given)
