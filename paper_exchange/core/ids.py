"""Counters and random texts that live in the exchange's state, so that a saved state goes on where it was."""

import secrets
import string
from random import Random
from typing import Final

_LETTERS: Final = string.ascii_letters + string.digits


class Ids:
    """Ids one after the other."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __next__(self) -> int:
        found = self._next
        self._next += 1
        return found


class Texts:
    """Random letters and digits; repeatable from a saved state, unpredictable otherwise."""

    def __init__(self) -> None:
        self._random = Random(secrets.randbits(128))  # noqa: S311 - names, not secrets

    def draw(self, length: int) -> str:
        return "".join(self._random.choices(_LETTERS, k=length))
