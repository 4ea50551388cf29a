"""`manage.py webhook create|list|revoke`: addresses at which alerts come in."""

import json
from argparse import ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from getpass import getuser

from django.core.management.base import CommandError

from execution import wiring
from execution.domain.alerts import AlertVerb
from execution.domain.authorization import Authorization
from execution.management.stated_reason import stated_reason
from execution.management.terminal import TerminalCommand
from execution.models import Webhook
from execution.store.webhooks import all_webhooks
from execution.webhooks.manage import WebhookError, WebhookRules, create_webhook, revoke_webhook
from execution_project.networks import networks


def json_object(text: str) -> dict[str, object]:
    """Return a JSON object. It is the `type=` of an argument."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ArgumentTypeError("must be a JSON object")
    return value


def amount(text: str) -> Decimal:
    """Return a number above 0. It is the `type=` of an argument."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError("must be a number") from None
    if not (value.is_finite() and value > 0):
        raise ArgumentTypeError("must be above 0")
    return value


class Command(TerminalCommand):
    """Makes, lists and revokes webhooks. A token is printed once, when it is made."""

    help = "Create, list or revoke webhooks for alerts of TradingView and others."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make one and print its token, which is not stored")
        create.add_argument("name", help="1 to 32 of a-z 0-9 -")
        create.add_argument("--allow", default="long,short", help=f"what alerts may ask for, of {','.join(AlertVerb)}")
        create.add_argument("--quantity", type=amount, help="of each entry, in the base asset; default: the alert's")
        create.add_argument("--defaults", type=json_object, default={}, help="fields of an order, as a JSON object")
        create.add_argument("--symbol-map", type=json_object, default={}, help="contracts by symbols of alerts")
        create.add_argument("--networks", default="", help="from where it may be called; default: anywhere")
        create.add_argument("--secret", default="", help="what the alert must carry in its field secret")
        create.add_argument("--max-lag", type=int, help="seconds after which an alert is too old")
        create.add_argument("--repeat-window", type=int, default=300, help="seconds in which the same content repeats")
        create.add_argument("--calls-per-minute", type=int, default=60)
        verbs.add_parser("list", help="show them, those in force first")
        revoke = verbs.add_parser("revoke", help="end one for good")
        revoke.add_argument("name")
        for each in (create, revoke):
            each.add_argument("--reason", type=stated_reason, required=True, help="why, for the log")
            each.add_argument("--by", default="", help="who; default: the user of this shell")

    def handle(self, *_: object, verb: str, **options: object) -> None:
        if verb == "list":
            for webhook in all_webhooks():
                self.stdout.write(line_of(webhook))
            return
        authorization = Authorization(by=str(options["by"] or getuser()), reason=str(options["reason"]))
        name = str(options["name"])
        try:
            if verb == "revoke":
                revoke_webhook(name, authorization, now=wiring.clock())
                self.stdout.write(f"Webhook {name} is revoked.")
                return
            rules = _rules(**options)  # type: ignore[arg-type]  # as the parser has read them
            made = create_webhook(rules, authorization, check_networks=networks, now=wiring.clock())
        except WebhookError as error:
            raise CommandError(f"Nothing was done: {error}") from None
        self.stdout.write(f"Webhook {name} is in force. Its address, which is not shown again:")
        self.stdout.write(f"/hooks/{made[1]}")


def line_of(webhook: Webhook) -> str:
    """Return a webhook on one line."""
    state = f"revoked by {webhook.revoked_by}" if webhook.revoked_at else "in force" if webhook.enabled else "disabled"
    used = webhook.last_used_at.isoformat() if webhook.last_used_at else "never"
    counts = f"accepted={webhook.accepted} repeated={webhook.repeated} refused={webhook.refused}"
    return f"{webhook.name}: {state}, verbs={','.join(webhook.verbs)} {counts} last_used={used}"


def _rules(  # noqa: PLR0913 -- the options of the command
    *,
    name: str,
    allow: str,
    quantity: Decimal | None,
    defaults: dict[str, object],
    symbol_map: dict[str, str],
    networks: str,
    secret: str,
    max_lag: int | None,
    repeat_window: int,
    calls_per_minute: int,
    **_: object,
) -> WebhookRules:
    return WebhookRules(
        name=name,
        verbs=[word.strip() for word in allow.split(",") if word.strip()],
        quantity=quantity,
        defaults=defaults,
        symbol_map=symbol_map,
        networks=networks,
        secret=secret,
        max_lag_seconds=max_lag,
        repeat_window_seconds=repeat_window,
        calls_per_minute=calls_per_minute,
    )
