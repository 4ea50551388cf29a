"""How hard a secret is to guess, estimated from the text alone."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import log2

# A secret that signs or opens something on the network.
KEY_BITS = 72.0
# A password that a server slows the guessing of.
PASSWORD_BITS = 48.0
# Words that stand in examples, and in what was copied from one.
EXAMPLES = (
    "change",
    "example",
    "secret",
    "password",
    "passw0rd",
    "qwerty",
    "123456",
    "insecure",
    "test-only",
    "default",
)


def bits_of(secret: str) -> float:
    """Estimate the entropy of a secret in bits: what repeats, counts up or stands in examples has little.

    It is the smaller of what its characters and what the steps between them show, so that `aaaa` and `abcd` are both
    worth next to nothing. A random secret of 32 letters and digits has about 140 bits by this measure.
    """
    text = shortest_period(secret)
    steps = [ord(after) - ord(before) for before, after in pairwise(text)]
    return min(_entropy(text), _entropy(steps))


def is_weak(secret: str, bits: float) -> bool:
    return bits_of(secret) < bits or any(word in secret.lower() for word in EXAMPLES)


def shortest_period(text: str) -> str:
    """Return the part of which the text is a repetition; the text itself when it repeats nothing."""
    length = (text + text).find(text, 1)
    return text[:length] if text else text


def _entropy(items: Sequence[object]) -> float:
    counts = Counter(items)
    return -sum(count * log2(count / len(items)) for count in counts.values())
