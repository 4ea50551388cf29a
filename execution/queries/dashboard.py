"""What the dashboard shows of the books, in reads whose number does not grow with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Avg, Case, Count, F, OuterRef, Q, Subquery, Sum, UUIDField, When
from django.db.models.functions import Cast

from execution.domain.money import ZERO
from execution.domain.states import TRADE_OPEN, TRADE_OVER, RequestTrigger, TradeState
from execution.domain.stop_distance import StopDistance
from execution.domain.trading import Direction, Source
from execution.models import AuditEvent, ExecutionRequest, Order, Position, Trade
from execution.queries.kept import kept
from execution.queries.kill_switch import open_entries
from execution.queries.positions import HeldPosition, held_positions, held_trades

# A row of a list costs a viewer's attention and a renderer's time; the admin's lists show what is beyond.
MOST_POSITIONS = 50
MOST_ENTRIES = 25
MOST_DECISIONS = 15
MOST_GROUPS = 12
MOST_LATENCIES = 60
PERFORMANCE_DAYS = 30
HUNDRED = 100


@dataclass(frozen=True, kw_only=True)
class OpenPosition:
    """A position with what it may win and lose.

    `is_read`: the exchange has shown it since it was opened. Before that there is no mark price and no PnL of it.
    """

    held: HeldPosition
    is_read: bool

    @property
    def position(self) -> Position:
        return self.held.position

    @property
    def trade(self) -> Trade | None:
        return self.position.trade

    @property
    def pnl(self) -> Decimal | None:
        """Unrealised, in the quote asset."""
        pnl: Decimal = self.position.unrealized_pnl
        return pnl if self.is_read else None

    @property
    def pnl_usd(self) -> Decimal | None:
        return self.held.unrealized_pnl_usd if self.is_read else None

    @property
    def r_multiple(self) -> Decimal | None:
        """Unrealised PnL divided by the loss that the first stop planned for this quantity."""
        risk = planned_risk(self.trade, self.position.quantity)
        pnl = self.pnl
        return pnl / risk if pnl is not None and risk else None

    @property
    def stop(self) -> StopDistance | None:
        return self.held.stop_distance

    @property
    def target_price(self) -> Decimal | None:
        """The nearest live target."""
        known: list[Decimal] = [price for o in self.held.targets if (price := o.trigger_price or o.price)]
        if not known:
            return None
        return min(known) if self.position.direction == Direction.LONG else max(known)

    @property
    def target_percent(self) -> Decimal | None:
        """How far the mark price is from the nearest target, in percent of the mark price."""
        target = self.target_price
        mark: Decimal = self.position.mark_price
        if target is None or not mark or not self.is_read:
            return None
        return (target - mark) * Direction(self.position.direction).sign / mark * HUNDRED

    @property
    def evidence_at(self) -> datetime:
        """When the exchange last showed the position or one of the orders that protect it."""
        orders = [*self.held.stops, *self.held.trailing]
        return max([self.position.observed_at, *(o.last_evidence_at for o in orders if o.last_evidence_at)])


@dataclass(frozen=True, kw_only=True)
class Positions:
    """The open positions, of which `shown` has the first."""

    shown: Sequence[OpenPosition]
    total: int

    @property
    def pnl_usd(self) -> Decimal:
        """Unrealised PnL of those that are shown and whose value is known."""
        return sum((each.pnl_usd for each in self.shown if each.pnl_usd is not None), ZERO)


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Decisions since a moment, newest first, and how many there are in each state."""

    shown: Sequence[ExecutionRequest]
    by_state: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_state.values())


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Closed trades of one strategy or symbol.

    `win_percent` counts trades with a positive net result. `profit_factor` is what the winners won divided by what the
    losers lost, None without a loss. `expectancy_r` is the average R multiple, `slippage_bps` that of the entries.
    """

    name: str
    trades: int
    win_percent: Decimal
    profit_factor: Decimal | None
    expectancy_r: Decimal | None
    slippage_bps: Decimal
    net_usd: Decimal | None


def open_positions(now: datetime) -> Positions:
    """Return what the exchange shows as open, and what our fills have opened since it was read."""
    # The row of a position stays until two readings have shown it flat; its trade may have ended before.
    held = [
        each for each in held_positions(now) if not (each.position.trade and each.position.trade.state in TRADE_OVER)
    ]
    shown = [OpenPosition(held=each, is_read=True) for each in held]
    known = {each.trade.pk for each in shown if each.trade}
    opened = Trade.objects.filter(state__in=sorted(TRADE_OPEN)).exclude(pk__in=known)
    unread = [OpenPosition(held=each, is_read=False) for each in held_trades(opened, now)]
    found = sorted([*shown, *unread], key=lambda each: (each.position.symbol, each.position.position_side))
    return Positions(shown=found[:MOST_POSITIONS], total=len(found))


def resting_entries() -> list[Order]:
    """Return the entries that are not over, oldest first."""
    return list(open_entries().select_related("request__bracket").order_by("id")[:MOST_ENTRIES])


def decisions_since(moment: datetime) -> Decisions:
    """Return the decisions that came since then, without what stands in for positions of others."""
    rows = ExecutionRequest.objects.filter(received_at__gte=moment).exclude(source=Source.EXTERNAL)
    states = rows.order_by("state").values_list("state").annotate(Count("pk"))
    counted = kept(f"decisions_since_{moment:%Y%m%d}", lambda: dict(states))
    return Decisions(shown=list(rows.order_by("-received_at")[:MOST_DECISIONS]), by_state=counted)


def performance(now: datetime, by: str) -> list[Performance]:
    """Return the results of 30 days by `strategy` or `symbol`, groups with the most trades first."""
    column = {"strategy": "request__strategy", "symbol": "symbol"}[by]
    return kept(f"performance_{by}", lambda: count_performance(now - timedelta(days=PERFORMANCE_DAYS), column))


def count_performance(since: datetime, column: str) -> list[Performance]:
    """Count the trades closed since then, grouped by a column."""
    closed = Trade.objects.filter(state=TradeState.CLOSED, exit_at__gte=since)
    groups = closed.order_by().values(name=F(column)).annotate(
        trades=Count("pk"),
        wins=Count("pk", filter=Q(net_pnl__gt=0)),
        won=Sum(Case(When(net_pnl_usd__gt=0, then=F("net_pnl_usd")))),
        lost=Sum(Case(When(net_pnl_usd__lt=0, then=F("net_pnl_usd")))),
        expectancy=Avg("r_multiple"),
        slippage=Avg("slippage_fraction"),
        net=Sum("net_pnl_usd"),
    )  # fmt: skip
    return [
        Performance(
            name=row["name"],
            trades=row["trades"],
            win_percent=Decimal(row["wins"] * HUNDRED) / row["trades"],
            profit_factor=(row["won"] or ZERO) / -row["lost"] if row["lost"] else None,
            expectancy_r=row["expectancy"],
            slippage_bps=row["slippage"] * HUNDRED * HUNDRED,
            net_usd=row["net"],
        )
        for row in groups.order_by("-trades", "name")[:MOST_GROUPS]
    ]


def recent_latencies() -> list[float]:
    """Return how long the last sixty entries took, oldest first.

    In milliseconds, from a decision's arrival to the acceptance of its entry.
    """
    received = ExecutionRequest.objects.filter(pk=Cast(OuterRef("entity_id"), UUIDField())).values("received_at")
    accepted = AuditEvent.objects.filter(entity="request", trigger=RequestTrigger.EXCHANGE_ACCEPTED)
    rows = accepted.annotate(took=F("at") - Subquery(received)).order_by("-id").values_list("took", flat=True)
    took = [each / timedelta(milliseconds=1) for each in rows[:MOST_LATENCIES] if each is not None]
    return took[::-1]


def planned_risk(trade: Trade | None, quantity: Decimal) -> Decimal:
    """Return what a quantity of a trade was planned to lose at its first stop, 0 where there was none."""
    if trade is None or trade.stop_price is None:
        return ZERO
    loss = (trade.entry_price - trade.stop_price) * Direction(trade.direction).sign
    risk: Decimal = max(ZERO, loss * quantity)
    return risk
