"""Recognises what a person has typed into a search: an id, a number, a symbol. Pure."""

import re
from enum import StrEnum
from uuid import UUID

from execution.domain import bounds
from execution.domain.client_ids import is_ours


class TypedId(StrEnum):
    """What a typed word is."""

    ID = "id"
    CLIENT_ORDER_ID = "client order id"
    NUMBER = "number of the exchange"
    SYMBOL = "symbol"
    OTHER = "other"


# Lists show the first eight digits of an id.
BEGINNING = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}", re.IGNORECASE)
NUMBER = re.compile(r"[0-9]{1,19}")
SYMBOL = re.compile(r"[A-Z0-9_\u4e00-\u9fff]{2,40}")


def recognise(word: str) -> TypedId:
    """Return what a word is, without asking any table."""
    if is_ours(word):
        return TypedId.CLIENT_ORDER_ID
    if NUMBER.fullmatch(word):
        return TypedId.NUMBER
    if BEGINNING.fullmatch(word):
        return TypedId.ID
    return TypedId.SYMBOL if SYMBOL.fullmatch(bounds.capitals(word)) else TypedId.OTHER


def ids_beginning_with(word: str) -> tuple[UUID, UUID]:
    """Return the first and the last id that begins with these digits."""
    digits = word.replace("-", "").lower()[:32]
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
