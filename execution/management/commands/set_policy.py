"""Sets one policy value by an operator's decision, or returns it to risk-safety.

No other source loosens the value meanwhile.
"""

from argparse import ArgumentParser

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.policy import KEYS, PolicyValueError, parse_policy_value
from execution.management.terminal import TerminalCommand
from execution.risk.policy_store import OPERATOR, policy_in_force, release_policy_value, set_policy_value

RELEASE = "release"


class Command(TerminalCommand):
    """`manage.py set_policy KEY VALUE --by NAME --reason "..."`.

    With the VALUE `release`, risk-safety may loosen it again.
    """

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", choices=sorted(KEYS), metavar="KEY", help="the policy key, as in configuration.md")
        parser.add_argument("value", help=f"a number, `default`, or `{RELEASE}`")
        parser.add_argument("--by", required=True, help="who asks for it")
        parser.add_argument("--reason", required=True, help="why; it is written to the journal")

    def handle(self, *_: object, key: str, value: str, by: str, reason: str, **__: object) -> None:
        if not by.strip() or not reason.strip():
            raise CommandError("--by and --reason must not be empty")
        if value == RELEASE:
            release_policy_value(key, now=wiring.clock(), by=by, reason=reason)
            self.stdout.write(f"{key} is risk-safety's again")
            return
        raw = KEYS[key].default if value == "default" else value
        try:
            number = parse_policy_value(key, raw)
        except PolicyValueError as error:
            raise CommandError(str(error)) from None
        set_policy_value(key, number, source=OPERATOR, now=wiring.clock(), by=by, reason=reason)
        held = policy_in_force()[key]
        capped = "" if held == number else f", capped by the hard ceiling of the settings: in force is {held:f}"
        self.stdout.write(f"{key}={number:f}{capped}")
