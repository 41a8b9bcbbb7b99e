"""The arguments of `erase`. What it does is in cli_erasure.py."""

from service.cli_operations_arguments import Add


def add_erase_command(command: Add) -> None:
    """Add `erase`."""
    erase = command(
        "erase",
        "Erase what finished subjects held, and list those that are not finished",
        "callsheet erase --account acme --dry-run",
    )
    erase.add_argument("--account", help="the account's name; left out: of any account")
    erase.add_argument("--tag", help="the id of a tag, as o_102; left out: any, or none")
    erase.add_argument(
        "--from",
        dest="file",
        metavar="FILE",
        help="a log file, or - for standard input, whose erasures are done again; instead of both",
    )
    erase.add_argument(
        "--provider",
        action="store_true",
        default=None,
        help="the provider deletes what it made first: workers ask it, until it has",
    )
    erase.add_argument(
        "--dry-run", action="store_true", default=None, help="only count and list them"
    )
