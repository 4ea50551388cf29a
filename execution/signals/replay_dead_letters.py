"""Drives a dead letter again, as it was or corrected, on a person's word: once, and under the rules of identity."""

from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from execution.domain.ports import StreamEntry
from execution.models import DeadLetter
from execution.models.dead_letter import ReplayOutcome
from execution.signals.accept import AcceptedEvent, accept
from execution.signals.dead_letters import PRODUCER
from execution.signals.envelope import WireEvent, decode
from execution.signals.inbox import TIMES, IntakeRules
from execution.store.transitions import log_step


class AlreadyReplayedError(Exception):
    """Somebody has driven this letter again before; it works once."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A person's word about a letter.

    `payload` is the corrected JSON object, None for the letter's own. A decision keeps its age, and expires by it as
    any other, unless the person decides it anew: `decided_now`.
    """

    by: str
    reason: str
    payload: str | None = None
    decided_now: bool = False


def replay_letter(letter_id: int, word: Replay, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Accept the letter's event as if its producer had sent it so; what it asks for is to be done after the commit.

    Raises:
        AlreadyRedrivenError: nothing was changed.
        MalformedEventError: it can still not be understood; nothing was changed, and it may be corrected again.
        DeadLetter.DoesNotExist: there is no such letter.

    """
    with transaction.atomic():
        letter = DeadLetter.objects.get(pk=letter_id)
        payload = letter.payload if word.payload is None else word.payload
        _claim(letter, word, payload, now)
        entry = _entry_of(letter, payload)
        event = decode(entry)
        accepted = accept(_decided_at(event, now) if word.decided_now else event, entry, rules=rules, now=now)
        _settle(letter, word, accepted, corrected=payload != letter.payload, now=now)
    return accepted


def _claim(letter: DeadLetter, word: Replay, payload: str, now: datetime) -> None:
    """Take the letter by a conditional update; whoever comes second waits for this transaction and finds it taken."""
    untouched = DeadLetter.objects.filter(pk=letter.pk, redriven_at__isnull=True)
    taken = untouched.update(
        redriven_at=now,
        redriven_by=word.by,
        redrive_reason=word.reason,
        redriven_payload=payload,
        outcome=ReplayOutcome.ACCEPTED,
    )
    if not taken:
        raise AlreadyReplayedError(f"Dead letter {letter.pk} was driven again before")


def _entry_of(letter: DeadLetter, payload: str) -> StreamEntry:
    """Return the entry as it would have been understood; without ids of its own it is the same entry still.

    A person's word stands for the signature, in the name of the producer for which the letter is kept.
    """
    ids = {name: value for name, value in letter.envelope.items() if name != PRODUCER}
    fields = {"event_type": letter.event_type, "payload": payload, **ids}
    return StreamEntry(
        stream=letter.stream,
        event_type=letter.event_type,
        entry_id=letter.entry_id,
        fields={name.encode(): value.encode(errors="replace") for name, value in fields.items()},
        producer=letter.envelope.get(PRODUCER, ""),
    )


def _decided_at(event: WireEvent, now: datetime) -> WireEvent:
    """Let the decision be of this moment; its identity is still that of its own content."""
    payload = {name: value for name, value in event.payload.items() if name not in TIMES}
    return replace(event, payload=payload, published_at=now)


def _settle(letter: DeadLetter, word: Replay, accepted: AcceptedEvent, *, corrected: bool, now: datetime) -> None:
    outcome = ReplayOutcome.REPEATED if accepted.repeated else ReplayOutcome.ACCEPTED
    DeadLetter.objects.filter(pk=letter.pk).update(outcome=outcome)
    log_step(
        "dead_letter",
        letter.pk,
        from_state=letter.reason_code,
        to_state=outcome,
        trigger="operator",
        now=now,
        reason=("", word.reason),
        details={
            "by": word.by,
            "corrected": corrected,
            "decided_now": word.decided_now,
            "request_id": str(accepted.request_id) if accepted.request_id else None,
        },
    )
