"""Proves who has sent an entry, before anything of it is read, and remembers its signature's nonce."""

from dataclasses import replace
from datetime import datetime

from django.db import connection

from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.domain.signatures import Signature, SigningRules, UntrustedError, age_problem, read_signature
from execution.models import SeenNonce
from execution.signals.envelope import MalformedEventError, check_size, entry_time

# Returns the entry that has brought the nonce first: this one, or another.
REMEMBER = """
    INSERT INTO execution_seennonce AS known (key_id, nonce, stream, entry_id, signed_at) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (key_id, nonce) DO UPDATE SET nonce = known.nonce RETURNING stream, entry_id
"""


def authenticated(entry: StreamEntry, rules: SigningRules | None, *, now: datetime) -> StreamEntry:
    """Return an entry with its producer; as it is where events are not signed.

    An entry that comes again to us, because its reader died or Redis lost the group, is the same entry: its nonce does
    not count against it, and neither does the time that has passed since.

    Raises:
        UntrustedError: it is not proven to come from a producer that may say this, now, for the first time.

    """
    if rules is None:
        return entry
    signature = proven(entry, rules)
    problem = age_problem(signature, rules, arrived=entry_time(entry.entry_id), now=now)
    if problem and not _is_known(entry, signature):
        raise UntrustedError(Reason.SIGNATURE_EXPIRED, problem, claimed=signature.key.producer)
    first = _remembered(entry, signature)
    if first != (entry.stream, entry.entry_id):
        sentence = f"key={signature.key.key_id}: this signature came before, in entry {first[1]} of {first[0]}"
        raise UntrustedError(Reason.SIGNATURE_REPLAYED, sentence, claimed=signature.key.producer)
    return replace(entry, producer=signature.key.producer)


def is_proven(entry: StreamEntry, rules: SigningRules | None) -> bool:
    """Whether an entry that has failed was at least signed by who may send it; nothing is remembered."""
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
        UntrustedError: as for `read_signature`; what is larger than any event is not even looked at.

    """
    try:
        check_size(entry.fields)
    except MalformedEventError as error:
        raise UntrustedError(error.code, error.sentence) from None
    return read_signature(entry.stream, entry.event_type, entry.fields, rules)


def _is_known(entry: StreamEntry, signature: Signature) -> bool:
    same = {"stream": entry.stream, "entry_id": entry.entry_id}
    return SeenNonce.objects.filter(key_id=signature.key.key_id, nonce=signature.nonce, **same).exists()


def _remembered(entry: StreamEntry, signature: Signature) -> tuple[str, str]:
    marks = (signature.key.key_id, signature.nonce, entry.stream, entry.entry_id, signature.signed_at)
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER, marks)
        stream, entry_id = cursor.fetchone()
    return stream, entry_id
