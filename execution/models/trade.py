"""A position's story from its first entry fill to its last exit fill, with the books of both."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from execution.domain.pnl import Excursion, excursion
from execution.domain.quote_index import in_usd
from execution.domain.states import TRADE_OPEN, TRADE_OVER, TradeState
from execution.domain.trading import Direction
from execution.models.fields import code, money, one_of, optional_money


class Trade(models.Model):
    """One trade. Prices, fees and PnL come from booked fills only.

    Amounts are in the quote asset, exact to its last digit; those named `_usd` are in USD at `quote_index`.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    request = models.OneToOneField("execution.ExecutionRequest", on_delete=models.PROTECT, related_name="trade")
    symbol = code(40)
    direction = code(5)
    position_side = code(5)
    state = code(default=TradeState.OPEN)
    quote_asset = code(blank=True)
    # USD per unit of the quote asset: at the entry while the trade is open, at the close from then on.
    quote_index = optional_money()
    quantity = money()
    exited_quantity = money(default=0)
    leverage = models.PositiveSmallIntegerField()
    entry_price = money()
    entry_at = models.DateTimeField()
    exit_price = optional_money()
    exit_at = models.DateTimeField(null=True, blank=True)
    close_reason = code(blank=True)
    # Reference price of the guard, for the slippage of the entry: positive is worse than planned.
    reference_price = money()
    slippage_fraction = money()
    # Where the plan had its stop and its nearest target first; empty where it has none. Where they lie now, the legs of
    # the plan say (store/levels.py).
    stop_price = optional_money()
    target_price = optional_money()
    margin = money()
    # At the index of the entry.
    margin_usd = optional_money()
    entry_fees = money()
    exit_fees = money(default=0)
    funding = money(default=0)
    # Beside fills and funding: what a liquidation pays into the insurance fund, or gets from it.
    other_income = money(default=0)
    # Fees without a value in the quote asset, by asset: not in the figures above and below.
    unvalued_fees = models.JSONField(default=dict, blank=True)
    # The same of funding, other income and realised PnL.
    unvalued_income = models.JSONField(default=dict, blank=True)
    # What limits take the unvalued to have cost, in the quote asset: the worse, in no figure above and below.
    assumed_cost = money(default=0)
    # Prices seen while it was open: mark prices at each reconciliation cycle, and fills.
    lowest_price = optional_money()
    highest_price = optional_money()
    gross_pnl = optional_money()
    net_pnl = optional_money()
    # What the sums over trades of different quote assets are made of.
    net_pnl_usd = optional_money()
    # Of the margin, as the neighbours' TradeStore defines it.
    pnl_percent = optional_money()
    r_multiple = optional_money()
    # How often its closed books were changed by what the exchange showed late, and when they were looked over for that.
    corrections = models.PositiveSmallIntegerField(default=0)
    checked_at = models.DateTimeField(null=True, blank=True)
    # Until when unprotected times have been measured.
    cover_measured_until = models.DateTimeField(null=True, blank=True)
    # Successive readings of the exchange without this position.
    flat_readings = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name = "trade"
        verbose_name_plural = "trades"
        permissions = [
            ("write_off_trade", "Can write off what the exchange denies"),
            ("move_protection", "Can move stops and targets by hand"),
        ]
        constraints = [
            one_of("trade_state_known", "state", TradeState),
            one_of("trade_direction_known", "direction", Direction),
            # In one-way mode the position side is BOTH, so this also keeps long and short apart.
            models.UniqueConstraint(
                fields=["symbol", "position_side"],
                condition=Q(state__in=sorted(TRADE_OPEN)),
                name="trade_one_open_per_symbol_and_side",
            ),
            models.CheckConstraint(name="trade_quantity_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="trade_exit_within_entry",
                condition=Q(exited_quantity__gte=0, exited_quantity__lte=models.F("quantity")),
            ),
            models.CheckConstraint(
                name="trade_closed_has_books",
                condition=~Q(state=TradeState.CLOSED)
                | Q(exit_price__isnull=False, exit_at__isnull=False, net_pnl__isnull=False),
            ),
            # Nothing is invented for it: what it made is not known, and in no total.
            models.CheckConstraint(
                name="trade_written_off_has_no_result",
                condition=~Q(state=TradeState.WRITTEN_OFF)
                | Q(exit_price=None, exit_at=None, gross_pnl=None, net_pnl=None, net_pnl_usd=None),
            ),
        ]
        indexes = [
            # Read by GET /trades: newest first, filtered by symbol.
            models.Index(fields=["-entry_at", "-id"], name="trade_newest"),
            models.Index(fields=["symbol", "-entry_at"], name="trade_symbol"),
            # Read by the admin's filter of how trades have ended.
            models.Index(fields=["close_reason", "-entry_at"], name="trade_end", condition=~Q(close_reason="")),
            # Read by the limits: the day's results, and a symbol's last stop.
            models.Index(fields=["exit_at"], name="trade_closed_at", condition=Q(state=TradeState.CLOSED)),
            # Read by the admin's filter of open trades.
            models.Index(fields=["-entry_at"], name="trade_open_newest", condition=Q(state__in=sorted(TRADE_OPEN))),
            # Read by each reconciliation cycle: closed books that were not looked over yet.
            models.Index(
                fields=["exit_at"], condition=Q(state=TradeState.CLOSED, checked_at=None), name="trade_unchecked"
            ),
            # Read by each monitor cycle: trades that have ended since the exchange was read.
            models.Index(fields=["updated_at"], name="trade_ended", condition=Q(state__in=sorted(TRADE_OVER))),
            # Read by the task that computes shortfalls: closed books that have changed.
            models.Index(fields=["exit_at"], name="trade_corrected", condition=Q(corrections__gt=0)),
            # Read by GET /trades, which counts them.
            models.Index(fields=["-entry_at"], name="trade_written_off", condition=Q(state=TradeState.WRITTEN_OFF)),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.direction} {self.state} {self.id}"

    def usd(self, amount: Decimal | None) -> Decimal | None:
        """Return an amount of the quote asset in USD at the trade's index price.

        None where either is not known.
        """
        return in_usd(amount, self.quote_index)

    @property
    def net_is_complete(self) -> bool:
        """Whether everything that belongs into the net result is known and could be valued."""
        return self.state != TradeState.WRITTEN_OFF and not (self.unvalued_fees or self.unvalued_income)

    @property
    def excursion(self) -> Excursion | None:
        return excursion(
            sign=Direction(self.direction).sign,
            entry_price=self.entry_price,
            quantity=self.quantity,
            lowest=self.lowest_price,
            highest=self.highest_price,
        )
