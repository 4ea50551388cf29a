"""What comes from outside cannot command a terminal or forge a line of the log."""

import io
import logging
import logging.config
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import CommandError, get_commands

from execution.management.terminal import TerminalCommand
from execution_project.logs import logging_settings
from execution_project.printable import printable

HOSTILE = "BTC\x1b[2J\x07\x9b31m\r\nINFO all is well\u202e\u2028\x7f\ud800"
SHOWN = r"BTC\x1b[2J\x07\x9b31m\x0d\x0aINFO all is well\u202e\u2028\x7f\ud800"
# Django's own with more before and after it: it colours its output, and prints names of migrations and of one role.
OF_DJANGO = {"migrate"}
OURS = sorted(
    {name for name, app in get_commands().items() if app == apps.get_app_config("execution").name} - OF_DJANGO
)


class Shouting(TerminalCommand):
    """Prints what it was given, and fails with it."""

    requires_system_checks = []

    def handle(self, **_: object) -> None:
        self.stdout.write(HOSTILE)
        raise CommandError(HOSTILE)


def test_every_hidden_character_is_shown() -> None:
    assert printable(HOSTILE) == SHOWN


@pytest.mark.parametrize("text", ["", "BTCUSDT 0.010 ≥ 5 · ключ 比特币 é"])
def test_text_for_people_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_lines_are_kept_where_they_belong() -> None:
    assert printable("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc\\x1b"


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_ours_prints_through_it(name: str) -> None:
    command = import_module(f"execution.management.commands.{name}").Command

    assert issubclass(command, TerminalCommand)


def test_there_are_commands() -> None:
    assert "explain" in OURS
    assert "dead_letter" in OURS


def test_output_and_errors_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Shouting().run_from_argv(["manage.py", "shouting"])

    out, err = capsys.readouterr()
    assert out == "BTC\\x1b[2J\\x07\\x9b31m\\x0d\nINFO all is well\\u202e\\u2028\\x7f\\ud800\n"
    assert "\x1b[2J" not in err
    assert "\\x1b[2J" in err


def test_streams_given_as_options_are_wrapped_too() -> None:
    out = io.StringIO()

    with pytest.raises(CommandError):
        Shouting().execute(stdout=out, force_color=False, no_color=True, skip_checks=True)

    assert "\x1b" not in out.getvalue()
    assert "\\x1b[2J" in out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_log_line_stays_one_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        logging.config.dictConfig(logging_settings(level="INFO", form=form))
        logging.getLogger("symbol").warning("denied %s", HOSTILE.replace("\ud800", ""))
    finally:
        logging.getLogger().handlers[:] = before

    captured = capsys.readouterr()
    [line] = (captured.out + captured.err).splitlines()
    assert "\x1b[2J" not in line
    assert "INFO all is well" in line
