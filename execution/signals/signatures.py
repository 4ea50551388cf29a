"""Proves which producer has sent an entry before its content is read, and remembers the nonce."""

from dataclasses import replace
from datetime import datetime

from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.domain.signatures import Signature, SigningRules, UntrustedError, age_problem, read_signature
from execution.signals.envelope import MalformedEventError, check_size, entry_time
from execution.store.inbox import nonce_came_with, remember_nonce


def authenticated(entry: StreamEntry, rules: SigningRules | None, *, now: datetime) -> StreamEntry:
    """Return an entry with its proven producer, or as it is when events are not signed.

    An entry is delivered again when its reader died or Redis lost the group. It is the same entry then: its nonce does
    not count against it, and neither does the time that has passed since.

    Raises:
        UntrustedError: no proof that a producer with the right to this stream sent it, in time, for the first time.

    """
    if rules is None:
        return entry
    signature = proven(entry, rules)
    problem = age_problem(signature, rules, arrived=entry_time(entry.entry_id), now=now)
    key, nonce = signature.key, signature.nonce
    if problem and not nonce_came_with(key.key_id, nonce, stream=entry.stream, entry_id=entry.entry_id):
        raise UntrustedError(Reason.SIGNATURE_EXPIRED, problem, claimed=key.producer)
    first = remember_nonce(
        key.key_id, nonce, stream=entry.stream, entry_id=entry.entry_id, signed_at=signature.signed_at
    )
    if first != (entry.stream, entry.entry_id):
        sentence = f"key={key.key_id}: this signature came before, in entry {first[1]} of {first[0]}"
        raise UntrustedError(Reason.SIGNATURE_REPLAYED, sentence, claimed=key.producer)
    return replace(entry, producer=key.producer)


def is_proven(entry: StreamEntry, rules: SigningRules | None) -> bool:
    """Whether a failed entry was signed by a producer with the right to its stream. Nothing is remembered."""
    if rules is None:
        return True
    try:
        proven(entry, rules)
    except UntrustedError:
        return False
    return True


def proven(entry: StreamEntry, rules: SigningRules) -> Signature:
    """Return an entry's signature.

    Raises:
        UntrustedError: as for `read_signature`, and for an entry that is larger than any event.

    """
    try:
        check_size(entry.fields)
    except MalformedEventError as error:
        raise UntrustedError(error.code, error.sentence) from None
    return read_signature(entry.stream, entry.event_type, entry.fields, rules)
