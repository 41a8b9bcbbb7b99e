"""What `--help` says: of every command and option something, and an example that can be typed."""

import argparse
import shlex
from collections.abc import Iterator

import pytest

from service.cli_arguments import parser
from service.cli_commands import COMMANDS

LONGEST = 100  # characters of a sentence or an example: one line


def walked(at: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """This command, and those below it."""
    yield at
    for command in below(at).values():
        yield from walked(command)


def below(at: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of this one, by name."""
    for action in at._actions:  # noqa: SLF001 - argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


EVERY = [pytest.param(command, id=command.prog) for command in walked(parser())]


@pytest.mark.parametrize("command", EVERY)
def test_a_command_says_in_one_sentence_what_it_does(command: argparse.ArgumentParser) -> None:
    said = command.description or ""
    assert said[:1].isupper()
    assert said.endswith(".")
    assert ". " not in said
    assert len(said) <= LONGEST
    assert said in command.format_help()


@pytest.mark.parametrize("command", EVERY)
def test_a_list_of_commands_says_of_each_what_it_does(command: argparse.ArgumentParser) -> None:
    for action in command._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            said = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001
            assert {name: f"{help_}." for name, help_ in said.items()} == {
                name: subcommand.description for name, subcommand in below(command).items()
            }


@pytest.mark.parametrize("given", [["hold", "intakes", "--reason", "r"], ["actions", "--action=x"]])
def test_a_wrong_word_is_answered_with_the_words_that_can_be_typed(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(given)
    said = capsys.readouterr().err
    assert "(choose from " in said
    assert "<" not in said  # the name of a class


@pytest.mark.parametrize("command", EVERY)
def test_every_option_says_what_it_is_and_its_default(command: argparse.ArgumentParser) -> None:
    for action in command._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        assert action.help, action.dest
        if action.default not in (None, argparse.SUPPRESS):
            assert "(default: %(default)s)" in action.help


@pytest.mark.parametrize("command", EVERY)
def test_a_command_has_an_example_that_runs_it(command: argparse.ArgumentParser) -> None:
    lead, _, example = (command.epilog or "").partition(": ")
    assert lead == "Example"
    assert "\n" not in example
    assert len(example) <= LONGEST
    assert f"{command.epilog}\n" in command.format_help()
    program, *words = shlex.split(example.partition(" < ")[0])
    given = parser().parse_args(words)
    assert program == "callsheet"
    assert f"{program} {given.command} ".startswith(f"{command.prog} ")


def test_every_command_that_can_be_given_is_run_by_something() -> None:
    given = {command.prog.partition(" ")[2] for command in walked(parser()) if not below(command)}
    assert given == set(COMMANDS)
