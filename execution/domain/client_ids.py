"""Client order ids: derived from the request, so that any process can look an order up after a crash.

The exchange keeps them unique among open orders only. They are a handle for look-up, never an idempotency key.
"""

import base64
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


def client_order_id(request_id: UUID, purpose: OrderPurpose, sequence: int) -> str:
    """Return `es1-<purpose letter><26 letters of the request id>-<sequence>`, at most 36 characters."""
    body = base64.b32encode(request_id.bytes).decode().rstrip("=").lower()
    return f"{PREFIX}{LETTERS[purpose]}{body}-{sequence}"


def is_ours(client_order_id: str) -> bool:
    """Whether an order carries our prefix; only such orders are ours to cancel."""
    return client_order_id.startswith(PREFIX)


# Prefixes of the orders by which the exchange itself closes positions.
CLOSED_BY_EXCHANGE = {
    "settlement_autoclose-": CloseReason.SETTLEMENT,
    "delivery_autoclose-": CloseReason.SETTLEMENT,
    "adl_autoclose": CloseReason.ADL,
    "autoclose-": CloseReason.LIQUIDATION,
}


def closed_by(client_order_id: str) -> CloseReason:
    """Return why an order that is not ours closed a position: the exchange and its reason, or somebody else."""
    found = (reason for prefix, reason in CLOSED_BY_EXCHANGE.items() if client_order_id.startswith(prefix))
    return next(found, CloseReason.MANUAL)
