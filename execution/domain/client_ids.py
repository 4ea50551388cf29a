"""Client order ids: derived from the request, so that any process can look an order up after a crash.

The exchange keeps them unique among open orders only. They are a handle for look-up, never an idempotency key.
"""

import base64
from uuid import UUID

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


# Orders that nobody of ours has sent: the exchange's own, and a person's on its pages.
ORIGINS = {
    "autoclose-": "liquidation",
    "adl_autoclose": "auto-deleveraging",
    "settlement_autoclose-": "settlement",
    "delivery_autoclose-": "settlement",
}


def origin_of(client_order_id: str) -> str:
    """Return who closed a position by an order under this id: the exchange and why, or somebody else."""
    return next((origin for prefix, origin in ORIGINS.items() if client_order_id.startswith(prefix)), "somebody else")
