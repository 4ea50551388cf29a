"""Keeps messages that could not be read, with the reason, and emits `order.failed` for an order."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import structlog
from django.db import transaction

from execution.domain.bounds import without_unfit
from execution.domain.ports import StreamEntry
from execution.models import DeadLetter
from execution.outbox import payloads
from execution.signals.envelope import MalformedEventError, legible
from execution.store.atomic_write import emit
from execution.store.inbox import has_letter

log = structlog.get_logger(__name__)
RAW_LIMIT = 16 * 1024
PRODUCER = "producer"


def store_dead_letter(entry: StreamEntry, error: MalformedEventError, *, was_an_order: bool, now: datetime) -> bool:
    """Keep a message that cannot be read, and emit `order.failed` for an order.

    Returns:
        False when the message was kept before.

    """
    payload, ids = legible(entry.fields)
    raw = b" ".join(name + b"=" + value for name, value in entry.fields.items())
    letter = DeadLetter(
        stream=entry.stream,
        entry_id=entry.entry_id,
        event_type=entry.event_type,
        reason_code=error.code,
        reason=without_unfit(error.sentence),
        raw=raw[:RAW_LIMIT].decode(errors="replace").replace("\x00", "\ufffd"),
        payload=payload,
        # A replay is the event of this producer.
        envelope=ids | ({PRODUCER: entry.producer} if entry.producer else {}),
        size_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        received_at=now,
    )
    with transaction.atomic():
        # A second delivery of the same entry finds its letter.
        if has_letter(letter.stream, letter.entry_id):
            return False
        letter.save(force_insert=True)
        if was_an_order:
            failed = payloads.order_failed(
                symbol=_known_text(error.payload, "symbol"),
                side=_known_text(error.payload, "side").lower(),
                reason=(error.code, letter.reason),
                now=now,
            )
            emit(f"entry:{entry.entry_id}", [(payloads.ORDER_FAILED, failed)], trace_id="", now=now)
    log.info("event_refused", stream=entry.stream, entry_id=entry.entry_id, code=error.code.value, reason=letter.reason)
    return True


def _known_text(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    return value[:40] if isinstance(value, str) else ""
