"""The arguments of `callsheet`: every command, its options, and what `--help` says of them.

`parser()` only reads. Its result names the command, as `keys create`, in `command`.
"""

import argparse
from pathlib import Path

from service import cli_operations_arguments as operators
from service.accounts.domain.scopes import DEFAULT_SCOPES, SCOPES
from service.callbacks.domain.sources import PROVIDER
from service.cli_erasure_arguments import add_erase_command
from service.cli_operations_arguments import Add
from service.kit import setting_parsers
from service.kit.crypto.key_formats import parse_whsec
from service.kit.network.ports import MAX_PORT


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    made = argparse.ArgumentParser(
        "callsheet",
        description="Take create-subject requests, see each through the provider, and tell "
        "subscribers.",
        epilog="Example: callsheet demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = _commands(made, "COMMAND")
    _local_commands(command)
    command("web", "Serve the HTTP API, and take the provider's callbacks", "callsheet web")
    command(
        "worker",
        "Submit subjects to the provider, ask it about them, and deliver events to subscribers",
        "callsheet worker",
    )
    command(
        "migrate", "Create the tables in Postgres, or bring them up to date", "callsheet migrate"
    )
    _callers_commands(command)
    _keys_commands(command)
    _secrets_commands(command)
    operators.add_holds_commands(command)
    command(
        "reencrypt",
        "Encrypt all stored secrets anew after CALLSHEET_SECRET_KEY has changed",
        "callsheet reencrypt",
    )
    add_erase_command(command)
    operators.add_prune_command(command)
    operators.add_resume_command(command)
    operators.add_adopt_command(command)
    operators.add_audit_command(command)
    operators.add_actions_command(command)
    operators.add_usage_command(command)
    return made


def _commands(parser: argparse.ArgumentParser, what: str) -> Add:
    """A function that adds commands to this parser."""
    commands = parser.add_subparsers(required=True, metavar=what)

    def add(name: str, meaning: str, example: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=meaning,
            description=f"{meaning}.",
            epilog=f"Example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # an example is one line
        )
        made.set_defaults(command=made.prog.partition(" ")[2])
        return made

    return add


def _port(given: str) -> int:
    try:
        return setting_parsers.integer(0, MAX_PORT)(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _webhook_secret(given: str) -> str:
    """The text itself, if it is a `whsec_` secret; what is wrong is said without it."""
    try:
        parse_whsec(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return given


def _local_commands(command: Add) -> None:
    dev = command(
        "dev",
        "Run the whole service in this terminal, with a simulated provider and data that is kept",
        "callsheet dev --port 8080",
    )
    dev.add_argument(
        "--data",
        type=Path,
        default=Path(".data"),
        help="the folder in which data is kept (default: %(default)s)",
    )
    dev.add_argument(
        "--port",
        type=_port,
        default=8000,
        help="the port of the HTTP API; a free one is taken where it is not free "
        "(default: %(default)s)",
    )
    dev.add_argument(
        "--story",
        type=Path,
        metavar="FILE",
        help="play this story back on data that is deleted again, and end: 0 if the moves are the "
        "same, 1 if not, 2 if FILE is no story",
    )
    command(
        "demo",
        "Show one full story, from requests to signed deliveries, on data that is deleted again",
        "callsheet demo",
    )
    simulator = command(
        "simulator",
        "Serve a simulated provider, for development",
        "callsheet simulator --api-key a-provider-key",
    )
    simulator.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    simulator.add_argument(
        "--port", type=_port, default=8100, help="the port to listen on (default: %(default)s)"
    )
    simulator.add_argument(
        "--api-key", required=True, help="the API key that it takes from its callers"
    )
    simulator.add_argument(
        "--webhook-secret",
        type=_webhook_secret,
        help="the secret, whsec_…, that it signs callbacks with; left out: it does not sign",
    )
    simulator.add_argument(
        "--access-key", help="with --secret-key: it takes tokens that are signed with this pair too"
    )
    simulator.add_argument("--secret-key", help="the secret key beside --access-key")
    simulator.add_argument(
        "--data", type=Path, help="the folder in which it keeps its tasks; left out: it keeps none"
    )


def _callers_commands(command: Add) -> None:
    story = command(
        "story",
        "Print all that was learnt about a subject, without what it holds, as a file",
        "callsheet story sub_01ka2v6r3n8x5q9w7e4t1y0z2m",
    )
    story.add_argument("id", help="the subject's id")
    story.add_argument("--url", help="the service's address; left out: CALLSHEET_URL")
    story.add_argument("--key", help="the caller's API key; left out: CALLSHEET_KEY")


def _keys_commands(command: Add) -> None:
    group = command(
        "keys",
        "Create, list and revoke the API keys that callers present",
        "callsheet keys list",
    )
    action = _commands(group, "ACTION")
    create = action(
        "create",
        "Create an API key for an account, and print it, this once",
        "callsheet keys create --account acme --expires-in 90d",
    )
    create.add_argument(
        "--account", required=True, help="the account's name; it is made if there is none"
    )
    create.add_argument(
        "--scopes",
        default=",".join(DEFAULT_SCOPES),
        help=f"the scopes of the key, separated by commas, of {', '.join(SCOPES)} "
        "(default: %(default)s)",
    )
    create.add_argument("--name", help="whose or what the key is for; left out: it has no name")
    create.add_argument(
        "--pair",
        action="store_true",
        default=None,
        help="make an access key and a secret key, to sign tokens with as the provider's clients "
        "do, and print one a line",
    )
    create.add_argument(
        "--expires-in", help="how long the key is valid, as 90d, 12h or 30m; left out: for ever"
    )
    listed = action(
        "list",
        "List all API keys, expired and revoked ones too, each by its id and first characters",
        "callsheet keys list --account acme",
    )
    listed.add_argument("--account", help="the account whose keys are listed; left out: of all")
    revoke = action(
        "revoke",
        "Revoke an API key: within a second every request with it is refused",
        "callsheet keys revoke key_01ka2v6r3n8x5q9w7e4t1y0z2m",
    )
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the key's id, as `callsheet keys list` shows it")
    which.add_argument(
        "--from",
        dest="file",
        metavar="FILE",
        help="a log file, or - for standard input, whose revocations are done again",
    )


def _secrets_commands(command: Add) -> None:
    group = command(
        "secrets",
        "Add, list and remove the secrets that verify callbacks",
        "callsheet secrets list",
    )
    action = _commands(group, "ACTION")
    add = action(
        "add",
        "Add a secret, which is valid at once, and verify again the callbacks that were rejected",
        "callsheet secrets add --source relay < secret.txt",
    )
    add.add_argument(
        "--source",
        default=PROVIDER,
        help=f"whose callbacks it verifies: {PROVIDER}, or a name of CALLSHEET_CALLBACK_SOURCES "
        "(default: %(default)s)",
    )
    add.add_argument(
        "secret",
        nargs="?",
        help="the secret; left out, or -: it is read from standard input, and no history has it",
    )
    action(
        "list",
        "List the valid secrets, each by its id, source and fingerprint",
        "callsheet secrets list",
    )
    remove = action(
        "remove",
        "Remove a secret at once, so that it verifies no callback any more",
        "callsheet secrets remove sec_01ka2v6r3n8x5q9w7e4t1y0z2m",
    )
    remove.add_argument("id", help="the secret's id, as `callsheet secrets list` shows it")
