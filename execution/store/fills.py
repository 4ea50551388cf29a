"""Statements on fills, as they are booked and as the user-data stream has reported them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from execution.domain.trading import OrderPurpose
from execution.models import Fill, Order, StreamedFill
from execution.store.named_sql import NamedSql

STREAMED = NamedSql("streamed_fills_of_entry", fill=StreamedFill)

# Booked fills


def fills_of_trades(trades: Collection[UUID]) -> QuerySet[Fill, Fill]:
    """Return the booked fills of these trades."""
    return Fill.objects.filter(trade__in=trades)


def insert_fills(fills: Sequence[Fill]) -> None:
    """Insert fills: one statement."""
    Fill.objects.bulk_create(fills)


def set_fill_value(fill_id: int, fee: Decimal | None, pnl: Decimal | None) -> None:
    """Write what the fee and the result of a fill are worth in the quote asset, None where that is not known."""
    Fill.objects.filter(pk=fill_id).update(fee_value=fee, pnl_value=pnl)


# Fills that the stream has reported


def insert_streamed_fill(row: StreamedFill) -> None:
    """Insert a fill that the stream has reported, unless it is known."""
    StreamedFill.objects.bulk_create([row], ignore_conflicts=True)


def has_exit_without_fill(trade_id: UUID, *, within: timedelta, stream: str, now: datetime) -> bool:
    """Return whether an exit executed within this time and none of its fills is known.

    An exit whose last evidence the stream itself has brought does not count.

    Args:
        trade_id: whose exits.
        within: how long ago the exit may have executed.
        stream: the source of the stream's evidence.
        now: the present time.

    """
    exits = Order.objects.filter(request_id=trade_id, executed_quantity__gt=0).exclude(purpose=OrderPurpose.ENTRY)
    young = exits.filter(last_evidence_at__gt=now - within, last_evidence_at__lte=now)
    known = Exists(StreamedFill.objects.filter(order=OuterRef("pk"))) | Exists(
        Fill.objects.filter(order=OuterRef("pk"))
    )
    return young.filter(~known).exclude(last_evidence__startswith=f"{stream}:").exists()


def streamed_fills_of_exits(trade_id: UUID) -> list[StreamedFill]:
    """Return the reported fills of a trade's exits, oldest first, each with its order."""
    rows = StreamedFill.objects.filter(order__request_id=trade_id).exclude(order__purpose=OrderPurpose.ENTRY)
    return list(rows.select_related("order").order_by("exchange_trade_id"))


def streamed_fills_of(entry: Order) -> list[StreamedFill]:
    """Return the reported fills of an order, oldest first."""
    return [fill for (fill,) in STREAMED.rows(order=entry.pk)]
