"""Webhooks: found by the digest of a token, counted, made and revoked."""

from collections.abc import Mapping
from datetime import datetime
from hmac import compare_digest

from django.db import connection
from django.db.models import F

from execution.models import InboxEvent, Webhook

# Compared with when there is no such webhook, so that the answer takes as long.
NO_DIGEST = "0" * 64


def webhook_of(digest: str) -> Webhook | None:
    """Return the webhook whose token has this digest, whether or not it is revoked."""
    found = Webhook.objects.filter(token_sha256=digest).first()
    return found if compare_digest(found.token_sha256 if found else NO_DIGEST, digest) else None


def lock_content(producer: str, identity: str) -> None:
    """Let one alert of this content at a time decide whether it is a repeat, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{producer} {identity}"])


def first_alert(event_type: str, identity: str, producer: str, *, since: datetime) -> InboxEvent | None:
    """Return the event of a webhook with this identity that came at `since` or later."""
    same = InboxEvent.objects.filter(event_type=event_type, identity=identity, producer=producer)
    return same.filter(received_at__gte=since).first()


def count_accepted(webhook_id: int, *, now: datetime, repeated: bool) -> None:
    """Count an alert that was taken, or recognised as a repeat."""
    column = "repeated" if repeated else "accepted"
    Webhook.objects.filter(pk=webhook_id).update(**{column: F(column) + 1}, last_used_at=now)


def count_refused(webhook_id: int, why: str, *, now: datetime) -> None:
    """Count an alert that was refused, and keep the last reason."""
    Webhook.objects.filter(pk=webhook_id).update(refused=F("refused") + 1, last_used_at=now, last_refusal=why[:500])


def active_webhook(name: str) -> Webhook | None:
    """Return the webhook of this name that is not revoked."""
    return Webhook.objects.filter(name=name, revoked_at=None).first()


def all_webhooks() -> list[Webhook]:
    """Return all webhooks, those in force first, by name."""
    return list(Webhook.objects.order_by(F("revoked_at").asc(nulls_first=True), "name"))


def insert_webhook(values: Mapping[str, object]) -> Webhook:
    """Store a new webhook."""
    return Webhook.objects.create(**values)


def revoke_active(name: str, *, by: str, now: datetime) -> bool:
    """Revoke the webhook of this name, or return False when there is none in force."""
    return bool(Webhook.objects.filter(name=name, revoked_at=None).update(revoked_at=now, revoked_by=by, enabled=False))
