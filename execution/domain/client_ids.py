"""Client order ids: derived from the request, so that any process can look an order up after a crash.

The exchange keeps them unique among open orders only. They are a handle for look-up, never an idempotency key.
"""

import base64
import string
from uuid import UUID

from execution.domain.reasons import CloseReason
from execution.domain.trading import OrderPurpose

PREFIX = "es1-"
LETTERS = {
    OrderPurpose.ENTRY: "e",
    OrderPurpose.STOP: "s",
    OrderPurpose.TARGET: "t",
    OrderPurpose.TRAILING: "r",
    OrderPurpose.CLOSE: "c",
}


# The exchange takes 36 characters. Up to here the number stands as it is written; orders that rest are known by it.
LAST_PLAIN_SEQUENCE = 9_999
DIGITS = string.digits + string.ascii_lowercase
REQUEST_WIDTH, SEQUENCE_WIDTH = 25, 6
LAST_SEQUENCE = len(DIGITS) ** SEQUENCE_WIDTH - 1


def client_order_id(request_id: UUID, purpose: OrderPurpose, sequence: int) -> str:
    """Return an order's client id of at most 36 characters, whatever its sequence number.

    `es1-<purpose letter><26 letters of the request id>-<sequence>`. From 10,000 on it has no dash, which keeps the two
    forms apart: `es1-<purpose letter><25 digits of base 36><6 digits of base 36>`. An exit never fails for lack of an
    id.

    Raises:
        ValueError: the number is not within 1..2,176,782,335, more than the database's column holds.

    """
    if not 1 <= sequence <= LAST_SEQUENCE:
        raise ValueError(f"sequence: expected=1..{LAST_SEQUENCE} actual={sequence}")
    if sequence > LAST_PLAIN_SEQUENCE:
        body = _base36(request_id.int, REQUEST_WIDTH) + _base36(sequence, SEQUENCE_WIDTH)
        return f"{PREFIX}{LETTERS[purpose]}{body}"
    body = base64.b32encode(request_id.bytes).decode().rstrip("=").lower()
    return f"{PREFIX}{LETTERS[purpose]}{body}-{sequence}"


def _base36(number: int, width: int) -> str:
    """Write a number in digits and lower-case letters, with zeros in front up to the width."""
    written = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        written = DIGITS[digit] + written
    return written.rjust(width, "0")


def is_ours(client_order_id: str) -> bool:
    """Whether an order carries our prefix. Only such orders are ours to cancel."""
    return client_order_id.startswith(PREFIX)


def entry_of(client_order_id: str) -> str:
    """Return the part that all entries of one decision share, or an empty text for any other order."""
    head, _, number = client_order_id.rpartition("-")
    return head if head.startswith(f"{PREFIX}{LETTERS[OrderPurpose.ENTRY]}") and number.isdigit() else ""


# Prefixes of the orders by which the exchange itself closes positions.
CLOSED_BY_EXCHANGE = {
    "settlement_autoclose-": CloseReason.SETTLEMENT,
    "delivery_autoclose-": CloseReason.SETTLEMENT,
    "adl_autoclose": CloseReason.ADL,
    "autoclose-": CloseReason.LIQUIDATION,
}


# What closed a position in a contract that the exchange reports no more: it has settled all that was open.
SETTLED_WITH_ITS_CONTRACT = "settlement_autoclose-"


def closed_by(client_order_id: str) -> CloseReason:
    """Return why an order that is not ours closed a position.

    The exchange's own orders name their reason. All others count as MANUAL.
    """
    found = (reason for prefix, reason in CLOSED_BY_EXCHANGE.items() if client_order_id.startswith(prefix))
    return next(found, CloseReason.MANUAL)
