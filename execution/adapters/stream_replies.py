"""What Redis answers about streams, as redis-py reads it with bytes left as bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

# Entries of a stream: their ids, and their fields, which are missing when the entry was trimmed after its delivery.
Batch: TypeAlias = Sequence[tuple[bytes, Mapping[bytes, bytes] | None]]
Batches: TypeAlias = Sequence[tuple[bytes, Batch]]
# A row of XINFO or XPENDING: texts are bytes, counts integers, and an entry is a pair as in a batch.
Facts: TypeAlias = Mapping[str, Any]


def reply(answer: object) -> Any:
    """Return an answer for a variable of its real type.

    The types of redis-py name every form that any of its protocols and decoders can give an answer.
    """
    return answer
