"""Fills that the user-data stream has told of: the books take them from here, and ask the exchange for the others."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.states import OrderState
from execution.domain.trading import OrderPurpose
from execution.models import Fill, Order, StreamedFill, Trade
from execution.store.stream_freshness import fills_are_streamed

# Accounts in credits mode book everything in an asset of its own, which shows in the fee; this one never does.
FEE_TOKEN = "BNB"  # noqa: S105 -- an asset
# The source of evidence, as orders name it.
STREAM = "stream"
# Many that end at once are told one after another.
TOLD_WITHIN = timedelta(seconds=3)
SIDES = {True: "BUY", False: "SELL"}


def note_fill(order: Order, fill: FillReport, *, now: datetime) -> None:
    """Store a fill of an order of ours as the stream tells it; told again, it changes nothing."""
    if SIDES[fill.buyer] != order.side or fill.symbol != order.symbol:
        return
    row = StreamedFill(
        order=order,
        symbol=fill.symbol,
        exchange_trade_id=fill.trade_id,
        exchange_order_id=fill.order_id,
        buyer=fill.buyer,
        position_side=fill.position_side,
        price=fill.price,
        quantity=fill.quantity,
        realized_pnl=fill.realized_pnl,
        commission=fill.commission,
        commission_asset=fill.commission_asset,
        maker=fill.maker,
        filled_at=fill.at,
        reported_at=now,
    )
    StreamedFill.objects.bulk_create([row], ignore_conflicts=True)


def is_about_to_be_streamed(trade_id: UUID, *, now: datetime) -> bool:
    """Whether an exit of ours has executed a moment ago, and the stream, which tells of fills, has not told of it yet.

    An answer is often faster than the stream, and whoever reads the list of fills then reads what is told next.
    """
    if not fills_are_streamed(now):
        return False
    exits = Order.objects.filter(request_id=trade_id, executed_quantity__gt=0).exclude(purpose=OrderPurpose.ENTRY)
    young = exits.filter(last_evidence_at__gt=now - TOLD_WITHIN, last_evidence_at__lte=now)
    known = Exists(StreamedFill.objects.filter(order=OuterRef("pk"))) | Exists(
        Fill.objects.filter(order=OuterRef("pk"))
    )
    # What the stream itself has told of came with its fill, or with one that it does not tell whole.
    return young.filter(~known).exclude(last_evidence__startswith=f"{STREAM}:").exists()


def streamed_exits(trade: Trade, exchange: Exchange) -> tuple[list[FillReport], dict[str, str]]:
    """Return the fills of a trade's exits that were told, oldest first, with the client ids behind their orders."""
    rows = StreamedFill.objects.filter(order__request_id=trade.pk).exclude(order__purpose=OrderPurpose.ENTRY)
    found = _believed(rows.select_related("order"), trade.symbol, trade.quote_asset, exchange)
    return [_report(row) for row in found], {row.exchange_order_id: row.order.client_order_id for row in found}


def streamed_entry_fills(entry: Order, exchange: Exchange) -> list[FillReport]:
    """Return the fills of an entry, oldest first, when all that it was to fill was told; else none."""
    if entry.state != OrderState.FILLED:
        return []
    rows = StreamedFill.objects.filter(order=entry)
    found = _believed(rows, entry.symbol, entry.request.quote_asset, exchange)
    return [_report(row) for row in found] if _sum(found) == entry.quantity == entry.executed_quantity else []


def _believed(
    rows: "QuerySet[StreamedFill]", symbol: str, quote_asset: str, exchange: Exchange
) -> Sequence[StreamedFill]:
    """Return the rows of which the result is known to be in the quote asset; none where one of them is not."""
    found = list(rows.order_by("exchange_trade_id"))
    paid_in = {row.commission_asset for row in found}
    # Results and fees are booked in the same asset, unless the account pays its fees in the exchange's own token.
    if paid_in <= {quote_asset}:
        return found
    if paid_in - {quote_asset, FEE_TOKEN}:
        return []
    try:
        rules = exchange.known_rules(symbol)
    except ExchangeUnavailableError:
        return []
    return found if rules and rules.margin_asset == quote_asset else []


def _sum(rows: Sequence[StreamedFill]) -> Decimal:
    return sum((row.quantity for row in rows), ZERO)


def _report(row: StreamedFill) -> FillReport:
    return FillReport(
        trade_id=row.exchange_trade_id,
        order_id=row.exchange_order_id,
        symbol=row.symbol,
        buyer=row.buyer,
        position_side=row.position_side,
        price=row.price,
        quantity=row.quantity,
        realized_pnl=row.realized_pnl,
        commission=row.commission,
        commission_asset=row.commission_asset,
        maker=row.maker,
        at=row.filled_at,
    )
