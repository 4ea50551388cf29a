"""Incoming events: inbox rows, dead letters, remembered signatures and model promotions."""

from collections.abc import Collection, Mapping
from datetime import datetime

from django.db import connection
from django.db.models import F

from execution.domain.json_values import JsonObject
from execution.models import DeadLetter, InboxEvent, ModelPromotion, SeenNonce
from execution.models.dead_letter import ReplayOutcome
from execution.models.inbox import InboxOutcome

# Returns the entry that brought the nonce first: this one, or another.
REMEMBER = """
    INSERT INTO execution_seennonce AS known (key_id, nonce, stream, entry_id, signed_at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (key_id, nonce) DO UPDATE SET nonce = known.nonce RETURNING stream, entry_id
"""


def load_event(inbox_id: int) -> InboxEvent:
    """Return an inbox event.

    Raises:
        InboxEvent.DoesNotExist: there is none with this id.

    """
    return InboxEvent.objects.get(pk=inbox_id)


def event_with(identity: Mapping[str, str]) -> InboxEvent | None:
    """Return the event that has these values in the columns of its identity."""
    return InboxEvent.objects.filter(**identity).first()


def count_repeat(first: InboxEvent, entry_id: str) -> None:
    """Count another entry with the identity of `first`, unless it is the same entry again."""
    others = InboxEvent.objects.filter(pk=first.pk).exclude(entry_id=entry_id, entry_id__gt="")
    others.update(duplicates=F("duplicates") + 1)


def mark_applied(inbox_id: int) -> None:
    """Mark an event as applied when it is pending."""
    InboxEvent.objects.filter(pk=inbox_id, outcome=InboxOutcome.PENDING).update(outcome=InboxOutcome.APPLIED)


def pending_events(*, before: datetime) -> list[int]:
    """Return the ids of events that arrived before this time and are not applied, oldest first."""
    pending = InboxEvent.objects.filter(outcome=InboxOutcome.PENDING, received_at__lt=before)
    return list(pending.order_by("pk").values_list("pk", flat=True))


def stored_entries(entry_ids: Collection[str]) -> set[str]:
    """Return those of these stream entries that were stored, as events or as dead letters."""
    return {*InboxEvent.objects.filter(entry_id__in=entry_ids).values_list("entry_id", flat=True)} | {
        *DeadLetter.objects.filter(entry_id__in=entry_ids).values_list("entry_id", flat=True)
    }


def insert_promotion(
    *,
    model: str,
    old_version: str,
    new_version: str,
    details: JsonObject,
    promoted_at: datetime,
    now: datetime,
) -> None:
    """Record that a model's new version is in use."""
    ModelPromotion.objects.create(
        model=model,
        old_version=old_version,
        new_version=new_version,
        details=details,
        promoted_at=promoted_at,
        received_at=now,
    )


def load_letter(letter_id: int) -> DeadLetter:
    """Return a dead letter.

    Raises:
        DeadLetter.DoesNotExist: there is none with this id.

    """
    return DeadLetter.objects.get(pk=letter_id)


def has_letter(stream: str, entry_id: str) -> bool:
    """Whether a stream entry is kept as a dead letter."""
    return DeadLetter.objects.filter(stream=stream, entry_id=entry_id).exists()


def take_letter(letter: DeadLetter, *, by: str, reason: str, payload: str, now: datetime) -> bool:
    """Mark a dead letter as replayed, or return False when it was replayed before.

    A second process waits for the transaction of the first and finds the letter taken.
    """
    untouched = DeadLetter.objects.filter(pk=letter.pk, replayed_at__isnull=True)
    return bool(
        untouched.update(
            replayed_at=now,
            replayed_by=by,
            replay_reason=reason,
            replayed_payload=payload,
            outcome=ReplayOutcome.ACCEPTED,
        )
    )


def save_replay_outcome(letter: DeadLetter, outcome: ReplayOutcome) -> None:
    """Write what came of a dead letter's replay."""
    DeadLetter.objects.filter(pk=letter.pk).update(outcome=outcome)


def nonce_came_with(key_id: str, nonce: str, *, stream: str, entry_id: str) -> bool:
    """Whether this stream entry is the one that brought the nonce."""
    same = {"stream": stream, "entry_id": entry_id}
    return SeenNonce.objects.filter(key_id=key_id, nonce=nonce, **same).exists()


def remember_nonce(key_id: str, nonce: str, *, stream: str, entry_id: str, signed_at: datetime) -> tuple[str, str]:
    """Remember which entry brought a nonce, and return stream and id of the first that did."""
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER, (key_id, nonce, stream, entry_id, signed_at))
        first_stream, first_entry = cursor.fetchone()
    return first_stream, first_entry
