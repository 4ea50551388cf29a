"""Replays a dead letter by an operator's order, as it was or corrected, and only once."""

from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from execution.domain.ports import StreamEntry
from execution.models import DeadLetter
from execution.models.dead_letter import ReplayOutcome
from execution.signals.accept import AcceptedEvent, accept
from execution.signals.dead_letters import PRODUCER
from execution.signals.envelope import decode
from execution.signals.inbox import TIMES, IntakeRules
from execution.store.inbox import load_letter, save_replay_outcome, take_letter
from execution.store.transitions import log_step


class AlreadyReplayedError(Exception):
    """The letter was replayed before, which works once."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """An operator's order to replay a dead letter.

    `payload` is the corrected JSON object, None for the letter's own. A decision keeps its age and expires by it,
    unless the operator decides it anew with `decided_now`.
    """

    by: str
    reason: str
    payload: str | None = None
    decided_now: bool = False


def replay_letter(letter_id: int, order: Replay, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Accept the letter's event as if its producer had sent it so.

    The caller starts its tasks after the commit.

    Raises:
        AlreadyReplayedError: the letter was replayed before; nothing was changed.
        MalformedEventError: it can still not be read; nothing was changed, and it may be corrected again.
        DeadLetter.DoesNotExist: there is no such letter.

    """
    with transaction.atomic():
        letter = load_letter(letter_id)
        payload = letter.payload if order.payload is None else order.payload
        if not take_letter(letter, by=order.by, reason=order.reason, payload=payload, now=now):
            raise AlreadyReplayedError(f"Dead letter {letter.pk} was replayed before")
        entry = _entry_of(letter, payload)
        event = decode(entry)
        if order.decided_now:
            # The identity stays that of the letter's own content.
            undated = {name: value for name, value in event.payload.items() if name not in TIMES}
            event = replace(event, payload=undated, published_at=now)
        accepted = accept(event, entry, rules=rules, now=now)
        _log_outcome(letter, order, accepted, corrected=payload != letter.payload, now=now)
    return accepted


def _entry_of(letter: DeadLetter, payload: str) -> StreamEntry:
    """Return the stream entry with this payload. Without ids of its own it still has the same identity.

    The operator's order stands for the signature, in the name of the producer for which the letter is kept.
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


def _log_outcome(letter: DeadLetter, order: Replay, accepted: AcceptedEvent, *, corrected: bool, now: datetime) -> None:
    outcome = ReplayOutcome.REPEATED if accepted.repeated else ReplayOutcome.ACCEPTED
    save_replay_outcome(letter, outcome)
    log_step(
        "dead_letter",
        letter.pk,
        from_state=letter.reason_code,
        to_state=outcome,
        trigger="operator",
        now=now,
        reason=("", order.reason),
        details={
            "by": order.by,
            "corrected": corrected,
            "decided_now": order.decided_now,
            "request_id": str(accepted.request_id) if accepted.request_id else None,
        },
    )
