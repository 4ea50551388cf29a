"""Counters and random texts in the exchange's state, so that a saved state continues them."""

import secrets
from base64 import b64encode
from random import Random
from typing import Final

# Letters and digits only, where this code has two signs more.
_INSTEAD: Final = b"Zz"


class Ids:
    """Ids one after the other."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __next__(self) -> int:
        found = self._next
        self._next += 1
        return found


class Texts:
    """Random letters and digits. Repeatable from a saved state, unpredictable otherwise."""

    def __init__(self) -> None:
        self._random = Random(secrets.randbits(128))  # noqa: S311 - names, not secrets

    def draw(self, length: int) -> str:
        count = -(-length * 3 // 4)
        return b64encode(self._random.randbytes(count), _INSTEAD)[:length].decode()
