"""What a read answers that does not see an order: no such order, lists without it, no position."""

from collections.abc import Collection
from typing import Any, Final

from paper_exchange.core.accounts import Account

_LOOK_UPS: Final = frozenset({"/fapi/v1/order", "/fapi/v1/openOrder", "/fapi/v1/algoOrder"})
_IDS: Final = ("orderId", "clientOrderId", "algoId", "clientAlgoId", "actualOrderId")


def ids_of(account: Account | None, name: str | None) -> Collection[str] | None:
    """Return all ids of the orders that one id names. None when no name was given."""
    if name is None:
        return None
    orders = (
        [] if account is None else [o for o in account.order_by_id.values() if name in {str(o.order_id), o.client_id}]
    )
    return {name, *(str(order.order_id) for order in orders)}


def hide(answer: Any, path: str, ids: Collection[str] | None) -> Any:
    """Return an answer without what shall not be seen (None: all of it).

    None where that is a look-up's only order.
    """
    if path in _LOOK_UPS:
        return None if ids is None or _is_named(answer, ids) else answer
    if isinstance(answer, list):
        return [] if ids is None else [row for row in answer if not _is_named(row, ids)]
    if ids is None and "positions" in answer:
        return {**answer, "positions": []}
    return answer


def _is_named(row: object, ids: Collection[str]) -> bool:
    return isinstance(row, dict) and any(str(row[name]) in ids for name in _IDS if name in row)
