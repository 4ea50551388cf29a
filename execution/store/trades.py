"""Statements on trades, and the lock of all their bookings."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from execution.domain.states import ORDER_FINAL, ORDER_UNSETTLED, TRADE_OPEN
from execution.domain.trading import Source
from execution.models import ExecutionRequest, Trade
from execution.store.named_sql import NamedSql

LOCK_REQUEST = NamedSql("lock_request")
TRADE = NamedSql("trade", trade=Trade)
COVER_HISTORY = NamedSql("cover_history")
COVER_MEASURED = "UPDATE execution_trade SET cover_measured_until = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class CoverStep:
    """A fill of a trade, at the exchange's time, or a step of one of its stops, at ours.

    The quantity of a fill is below zero when it is an exit's. `filled_at`: when the stop has filled last.
    """

    stop_id: int | None
    at: datetime
    to_state: str
    filled_at: datetime | None
    quantity: Decimal


# The lock of all bookings is the one on the row of the trade's request.


def lock_request_of_trade(trade_id: UUID) -> ExecutionRequest:
    """Return the request of a trade and lock its row until the transaction ends: no other process books meanwhile.

    Raises:
        ExecutionRequest.DoesNotExist: there is none with this id.

    """
    return ExecutionRequest.objects.select_for_update().get(pk=trade_id)


def lock_request_if_known(request_id: UUID) -> None:
    """Lock the row of a request, if there is one, until the transaction ends."""
    ExecutionRequest.objects.select_for_update().filter(pk=request_id).first()


def lock_request_state(request_id: UUID) -> tuple[str, str]:
    """Lock the row of a request until the transaction ends, and return its state and reason code.

    Raises:
        ExecutionRequest.DoesNotExist: there is none with this id.

    """
    locked = LOCK_REQUEST.row(request=request_id)
    if locked is None:
        raise ExecutionRequest.DoesNotExist(f"there is no request {request_id}")
    state, code = locked
    return state, code


# One trade


def load_trade(trade_id: UUID) -> Trade:
    """Return a trade.

    Raises:
        Trade.DoesNotExist: there is none with this id.

    """
    return Trade.objects.get(pk=trade_id)


def load_trade_with_request(trade_id: UUID) -> Trade:
    """Return a trade with its request.

    Raises:
        Trade.DoesNotExist: there is none with this id.

    """
    return Trade.objects.select_related("request").get(pk=trade_id)


def find_trade(trade_id: UUID) -> Trade | None:
    """Return a trade, None while there is none."""
    found = TRADE.row(trade=trade_id)
    return found[0] if found else None


def has_trade(trade_id: UUID) -> bool:
    """Return whether there is a trade with this id."""
    return Trade.objects.filter(pk=trade_id).exists()


def exited_quantity_of(trade_id: UUID) -> Decimal | None:
    """Return how much of a trade is booked as exited, None while there is no trade."""
    return Trade.objects.filter(pk=trade_id).values_list("exited_quantity", flat=True).first()


def set_cover_measured(trade_id: UUID, until: datetime) -> None:
    """Write until when the times without full cover of a trade are measured."""
    with connection.cursor() as cursor:
        cursor.execute(COVER_MEASURED, [until, trade_id])


def cover_history(trade_id: UUID) -> list[CoverStep]:
    """Return the fills of a trade and the states of its stops, no fills where its plan has no stop."""
    parameters = {"over": sorted(ORDER_FINAL), "unsettled": sorted(ORDER_UNSETTLED)}
    return [CoverStep(*row) for row in COVER_HISTORY.rows(trade=trade_id, **parameters)]


# Several


def trades_by_id(trades: Collection[UUID]) -> dict[UUID, Trade]:
    """Return these trades by id."""
    return Trade.objects.in_bulk(trades)


def open_trades_by_id() -> dict[UUID, Trade]:
    """Return the open trades, each with its request, by id."""
    return {trade.pk: trade for trade in Trade.objects.filter(state__in=sorted(TRADE_OPEN)).select_related("request")}


def find_open_trade_on(symbol: str, position_side: str, direction: str) -> Trade | None:
    """Return the open trade of a symbol, side and direction, None without one."""
    same = {"symbol": symbol, "position_side": position_side, "direction": direction}
    return Trade.objects.filter(state__in=sorted(TRADE_OPEN), **same).first()


def has_open_trade_on(symbol: str, position_side: str) -> bool:
    """Return whether a trade of the symbol and side is open."""
    return Trade.objects.filter(symbol=symbol, position_side=position_side, state__in=sorted(TRADE_OPEN)).exists()


def has_trade_changed_since(symbol: str, since: datetime) -> bool:
    """Return whether a trade that began with an entry of this service changed in the symbol since then."""
    trades = Trade.objects.filter(symbol=symbol, updated_at__gte=since)
    return trades.exclude(request__source=Source.EXTERNAL).exists()


def trades_between(symbol: str, begin: datetime, end: datetime) -> QuerySet[Trade, Trade]:
    """Return the trades of a symbol that were open at some time between these, oldest first, with their fills."""
    ended_later = Q(exit_at=None) | Q(exit_at__gte=begin)
    rows = Trade.objects.filter(ended_later, symbol=symbol, entry_at__lte=end)
    return rows.order_by("entry_at").prefetch_related("fills")
