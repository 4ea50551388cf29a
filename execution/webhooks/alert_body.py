"""Reads the body of an alert: a JSON object, a form, or a line of text, as names and values.

What a service sends is read by what it is, not by its content type: some send JSON as a form or as text.
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from execution.domain import bounds
from execution.signals.envelope import MalformedEventError, parse_json

# An alert is a few hundred bytes.
MAX_BODY_BYTES = 16 * 1024
MOST_FIELDS = 100
FORM = "application/x-www-form-urlencoded"
# The names under which services send what proves them. It is taken out before anything else is read.
SECRETS = ("secret", "passphrase", "email_token", "webhook_secret")
# `buy BTCUSDT.P quantity=0.01 stop_loss=49000`
LINE = re.compile(r"(?P<action>[A-Za-z_]+)\s+(?P<symbol>[A-Za-z0-9_:./\-]+)(?P<rest>(?:\s+[A-Za-z_]+=\S+)*)")
# The message that TradingView proposes for the alerts of a strategy.
STRATEGY_LINE = re.compile(
    r".*?order (?P<action>buy|sell) @ (?P<quantity>[0-9.eE+-]+) filled on (?P<symbol>\S+?)\.? "
    r"New strategy position is (?P<position_size>-?[0-9.eE+-]+)\.?",
    re.DOTALL,
)
PLACEHOLDER = re.compile(r"\{\{.*?\}\}")


def alert_fields(raw: bytes, content_type: str) -> dict[str, object]:
    """Return the fields of an alert.

    Raises:
        MalformedEventError: it is too long, not UTF-8, none of the forms, or has a field twice, too deep, with a
            character that cannot be stored, or with a placeholder that the service has not filled in.

    """
    if len(raw) > MAX_BODY_BYTES:
        raise field_error("body", f"must be at most {MAX_BODY_BYTES} bytes, not {len(raw)}")
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise field_error("body", "must be UTF-8") from None
    if not text:
        raise field_error("body", "must not be empty")
    if text.startswith(("{", "[")):
        found = _read_json(text)
    elif content_type.partition(";")[0].strip().lower() == FORM:
        found = _read_form(text)
    else:
        found = _read_line(text)
    _check(found)
    return found


def field_error(name: str, rule: str) -> MalformedEventError:
    """Return the error of one field."""
    return MalformedEventError.by_field([(name, rule)])


def take_secret(fields: dict[str, object]) -> str:
    """Take what proves the sender out of the fields, and return it, empty when there is none."""
    given = [fields.pop(name) for name in SECRETS if name in fields]
    return next((value for value in given if isinstance(value, str)), "")


def _read_json(text: str) -> dict[str, object]:
    try:
        json.loads(text, object_pairs_hook=_once_each)
        value = parse_json(text)
    except MalformedEventError:
        raise
    except (ValueError, RecursionError) as error:
        raise field_error("body", f"is not JSON that can be read: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise field_error("body", "must be one JSON object")
    return value


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise field_error(twice[0][:40], "must be given once")
    return dict(pairs)


def _read_form(text: str) -> dict[str, object]:
    try:
        pairs: list[tuple[str, object]] = [
            *parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=MOST_FIELDS)
        ]
    except ValueError as error:
        raise field_error("body", f"is not a form that can be read: {str(error)[:200]}") from None
    return _once_each(pairs)


def _read_line(text: str) -> dict[str, object]:
    if match := STRATEGY_LINE.fullmatch(text):
        return {**match.groupdict(), "line": "strategy"}
    if match := LINE.fullmatch(text):
        pairs: list[tuple[str, object]] = [("action", match["action"]), ("symbol", match["symbol"])]
        pairs += [(name, value) for name, _, value in (part.partition("=") for part in match["rest"].split())]
        return _once_each(pairs)
    raise field_error("body", "must be a JSON object, a form, or a line such as: buy BTCUSDT.P quantity=0.01")


def _check(fields: Mapping[str, object]) -> None:
    if len(fields) > MOST_FIELDS:
        raise field_error("body", f"must have at most {MOST_FIELDS} fields, not {len(fields)}")
    for name, value in fields.items():
        if character := bounds.unstorable_character(name):
            raise field_error("body", f"a name contains the character {character}")
        if problem := bounds.json_problem(value, deepest=8):
            raise field_error(name[:40], problem)
        if isinstance(value, str) and PLACEHOLDER.search(value):
            raise field_error(name[:40], "has a placeholder that was not filled in")
