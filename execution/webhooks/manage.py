"""Makes and revokes webhooks. Rules are checked when one is made, so that no alert finds a broken one.

A token is made of 256 random bits and shown once. The row keeps its SHA-256, and of a secret the HMAC under the token,
so that a copy of the database is no way in.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction
from pydantic import ValidationError

from execution.domain.alerts import AlertVerb
from execution.domain.authorization import Authorization
from execution.models import Webhook
from execution.models.webhook import SizeRule
from execution.signals.schemas import ManualOrder, schema_errors
from execution.store.transitions import log_step
from execution.store.webhooks import insert_webhook, revoke_active

PREFIX = "hook_"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
ENTITY = "webhook"
# What an order needs, so that the defaults can be checked by the order's own rules.
SAMPLE = {"symbol": "BTCUSDT", "side": "long", "quantity": "1"}
NO_DEFAULTS = frozenset({"symbol", "side", "action", "timestamp", "request_id"})


class WebhookError(ValueError):
    """A webhook that cannot be made or revoked so. Nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class WebhookRules:
    """What a webhook may do, as an operator asks for it. See `models/webhook.py`."""

    name: str
    verbs: Sequence[str] = ("long", "short")
    defaults: Mapping[str, object] = field(default_factory=dict)
    symbol_map: Mapping[str, str] = field(default_factory=dict)
    networks: str = ""
    secret: str = ""
    quantity: Decimal | None = None
    max_lag_seconds: int | None = None
    repeat_window_seconds: int = 300
    calls_per_minute: int = 60


def digest_of(token: str) -> str:
    """Return what is stored of a token, and looked up."""
    return hashlib.sha256(token.encode()).hexdigest()


def secret_digest(token: str, secret: str) -> str:
    """Return what is stored of a secret. Without the token it cannot be guessed from the row."""
    return hmac.new(token.encode(), secret.encode(), hashlib.sha256).hexdigest()


def create_webhook(
    rules: WebhookRules, authorization: Authorization, *, check_networks: Callable[[str], object], now: datetime
) -> tuple[Webhook, str]:
    """Store a webhook, and return it with its token, which is kept nowhere.

    Raises:
        WebhookError: a rule is broken, or the name is in use.

    """
    _check(rules, check_networks)
    token = PREFIX + secrets.token_urlsafe(32)
    values = {
        "name": rules.name,
        "token_sha256": digest_of(token),
        "secret_sha256": secret_digest(token, rules.secret) if rules.secret else "",
        "defaults": dict(rules.defaults),
        "symbol_map": {name.upper(): contract.upper() for name, contract in rules.symbol_map.items()},
        "verbs": sorted(set(rules.verbs)),
        "networks": rules.networks,
        "size_rule": SizeRule.ALERT if rules.quantity is None else SizeRule.QUANTITY,
        "size_quantity": rules.quantity,
        "max_lag_seconds": rules.max_lag_seconds,
        "repeat_window_seconds": rules.repeat_window_seconds,
        "calls_per_minute": rules.calls_per_minute,
        "created_at": now,
        "created_by": authorization.by,
    }
    try:
        with transaction.atomic():
            webhook = insert_webhook(values)
            _journal(rules.name, "CREATED", authorization, now)
    except IntegrityError:
        raise WebhookError(f"name: a webhook {rules.name} is in force; revoke it first") from None
    return webhook, token


def revoke_webhook(name: str, authorization: Authorization, *, now: datetime) -> None:
    """Revoke a webhook for good: its token is unknown from now on.

    Raises:
        WebhookError: none of this name is in force.

    """
    with transaction.atomic():
        if not revoke_active(name, by=authorization.by, now=now):
            raise WebhookError(f"name: no webhook {name[:40]} is in force")
        _journal(name, "REVOKED", authorization, now)


def _journal(name: str, state: str, authorization: Authorization, now: datetime) -> None:
    why, details = ("", authorization.reason), {"by": authorization.by}
    log_step(ENTITY, name, to_state=state, trigger="operator", now=now, reason=why, details=details)


def _check(rules: WebhookRules, check_networks: Callable[[str], object]) -> None:
    if not NAME.fullmatch(rules.name):
        raise WebhookError("name: must have 1 to 32 of a-z 0-9 -, and begin with a letter or digit")
    if not rules.verbs or set(rules.verbs) - set(AlertVerb):
        raise WebhookError(f"verbs: must be some of {', '.join(AlertVerb)}")
    try:
        check_networks(rules.networks)
    except ValueError as error:
        raise WebhookError(f"networks: {error}") from None
    if rules.secret and len(rules.secret) < 8:
        raise WebhookError("secret: must have at least 8 characters")
    bounds = (
        ("max_lag_seconds", rules.max_lag_seconds, 604_800),
        ("repeat_window_seconds", rules.repeat_window_seconds, 86_400),
        ("calls_per_minute", rules.calls_per_minute, 6_000),
    )
    for name, value, most in bounds:
        if value is not None and not 1 <= value <= most:
            raise WebhookError(f"{name}: must be from 1 to {most}")
    _check_defaults(rules)


def _check_defaults(rules: WebhookRules) -> None:
    if fixed := NO_DEFAULTS & set(rules.defaults):
        raise WebhookError(f"defaults: {min(fixed)} comes from the alert")
    order = {**SAMPLE, **rules.defaults} | ({} if rules.quantity is None else {"quantity": str(rules.quantity)})
    try:
        known = ManualOrder.read_fields()
        if strange := set(rules.defaults) - known:
            raise WebhookError(f"defaults: {min(strange)[:40]} is not known")
        ManualOrder.model_validate(order)
    except ValidationError as error:
        name, rule = next(schema_errors(error, ManualOrder))
        raise WebhookError(f"defaults: {name}: {rule}") from None
