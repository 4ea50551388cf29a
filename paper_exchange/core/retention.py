"""Retention: ended orders without a fill for three days, everything else for three months.

Reads ask `is_kept` and so are exact to the millisecond. Forgetting itself happens a little later, with the steps of
time, and only keeps the accounts' lists and indexes small. The arbiter's ledger forgets nothing.
"""

from bisect import bisect_left
from collections import deque
from heapq import heappop, heappush
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.orders import AlgoOrder, Order

DAY_MS: Final = 86_400_000
UNFILLED_KEPT_MS: Final = 3 * DAY_MS
KEPT_MS: Final = 90 * DAY_MS
# "Three months" of fills, income and amendments are taken as 90 days.
HISTORY_KEPT_MS: Final = 90 * DAY_MS
MARGIN_HISTORY_KEPT_MS: Final = 30 * DAY_MS
# A GTC order is valid for one year.
GOOD_TILL_CANCEL_MS: Final = 365 * DAY_MS
# Lists of rows are cut so often; what is older by less is left out by each read.
_TRIM_EVERY_MS: Final = DAY_MS
_UNFILLED_ENDS: Final = frozenset({"CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})

AnyOrder = Order | AlgoOrder


def is_kept(order: AnyOrder, now: int) -> bool:
    """Return whether an order can still be looked up, by its age since it was placed and by how it ended."""
    return now - order.created <= (UNFILLED_KEPT_MS if is_void(order) else KEPT_MS)


def is_void(order: AnyOrder) -> bool:
    """Return whether an order ended without any fill.

    A conditional one that was triggered ends FINISHED instead.
    """
    filled = order.executed if isinstance(order, Order) else None
    return order.status in _UNFILLED_ENDS and not filled


class Retention:
    """Queues of what is to be forgotten: by age, and earlier for those that ended without a fill."""

    def __init__(self) -> None:
        self._aging: deque[AnyOrder] = deque()
        self._ended: list[tuple[int, int, AnyOrder]] = []
        self._trimmed = 0

    def placed(self, order: AnyOrder) -> None:
        """Note a new order. They come in the order of time."""
        self._aging.append(order)

    def ended(self, order: AnyOrder) -> None:
        """Note that an order is no longer open."""
        if is_void(order):
            heappush(self._ended, (order.created + UNFILLED_KEPT_MS, _identity(order), order))
        elif order.created + KEPT_MS < order.updated:
            heappush(self._ended, (order.created + KEPT_MS, _identity(order), order))

    def step(self, accounts: dict[str, Account], now: int) -> None:
        """Forget what is over at a moment. An order that is still open stays until it ends."""
        while self._ended and self._ended[0][0] < now:
            order = heappop(self._ended)[2]
            if not _is_live(order):
                _forget(order)
        while self._aging and self._aging[0].created + KEPT_MS < now:
            order = self._aging.popleft()
            if not _is_live(order):
                _forget(order)
        if now - self._trimmed >= _TRIM_EVERY_MS:
            self._trimmed = now
            for account in accounts.values():
                _trim(account, now)


def _is_live(order: AnyOrder) -> bool:
    return order.is_open or (isinstance(order, AlgoOrder) and order.status in {"TRIGGERING", "TRIGGERED"})


def _identity(order: AnyOrder) -> int:
    return order.order_id if isinstance(order, Order) else order.algo_id


def _forget(order: AnyOrder) -> None:
    """Take an order out of its account's lists and indexes. Harmless when it has gone before."""
    account, symbol = order.account, order.symbol.name
    if isinstance(order, Order):
        _take_out(account.orders[symbol], order)
        account.order_by_id.pop((symbol, order.order_id), None)
        account.amendments.pop(order.order_id, None)
        if account.order_by_client.get((symbol, order.client_id)) is order:
            del account.order_by_client[symbol, order.client_id]
        return
    _take_out(account.algos[symbol], order)
    account.algo_by_id.pop(order.algo_id, None)
    if account.algo_by_client.get(order.client_id) is order:
        del account.algo_by_client[order.client_id]


def _take_out(rows: list[Order] | list[AlgoOrder], order: AnyOrder) -> None:
    index = bisect_left(rows, _identity(order), key=_identity)
    if index < len(rows) and rows[index] is order:
        del rows[index]


def _trim(account: Account, now: int) -> None:
    """Cut the lists of rows that only grow. Each is in the order of time."""
    for fills in account.fills.values():
        del fills[: bisect_left(fills, now - HISTORY_KEPT_MS, key=lambda fill: fill.time)]
    del account.income[: bisect_left(account.income, now - HISTORY_KEPT_MS, key=lambda row: row.time)]
    forced = account.force_orders
    del forced[: bisect_left(forced, now - KEPT_MS, key=lambda row: row[1].created)]
    moved = account.margin_changes
    del moved[: bisect_left(moved, now - MARGIN_HISTORY_KEPT_MS, key=lambda row: row.time)]
