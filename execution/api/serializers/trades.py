"""The shape of a trade: the neighbours' numbers as JSON numbers, our own exact amounts as strings."""

from decimal import Decimal

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.api.serializers.fields import AnySerializer, DirectionWord, Exact, Moment
from execution.api.serializers.orders import OrderOut
from execution.domain.money import basis_points, plain
from execution.domain.trading import Source
from execution.models import Trade
from execution.queries.trades import TradeStatus
from execution.store.levels import NO_LEVELS, Levels, levels_in


class TradeOut(AnySerializer):
    """One trade. `pnl_usd` is net of fees and funding, `pnl_percent` of the margin.

    Both are null until the trade is closed. What is named `_usd` is in USD at `quote_index`; prices, `net_pnl`,
    `gross_pnl`, `fees`, `funding` and `other_income` are in `quote_asset`, exact.
    """

    trade_id = serializers.UUIDField(source="id")
    symbol = serializers.CharField()
    side = DirectionWord(source="direction")
    status = serializers.ChoiceField(choices=list(TradeStatus))
    quote_asset = serializers.CharField()
    quote_index = Exact(
        allow_null=True, help_text="USD per unit of the quote asset: at the entry while it is open, then at the close."
    )
    quantity = serializers.FloatField()
    leverage = serializers.IntegerField()
    entry_price = serializers.FloatField()
    entry_time = Moment(source="entry_at")
    exit_price = serializers.FloatField(allow_null=True)
    exit_time = Moment(source="exit_at", allow_null=True)
    stop_loss = serializers.SerializerMethodField(help_text="Where the plan has its stop now; null without one.")
    take_profit = serializers.SerializerMethodField(help_text="The plan's nearest target now; null without one.")
    initial_stop_loss = serializers.FloatField(source="stop_price", allow_null=True)
    initial_take_profit = serializers.FloatField(source="target_price", allow_null=True)
    pnl_usd = serializers.FloatField(source="net_pnl_usd", allow_null=True)
    pnl_percent = serializers.FloatField(allow_null=True)
    model = serializers.SerializerMethodField()
    confidence = serializers.SerializerMethodField()
    metadata = serializers.DictField(source="request.metadata")

    net_pnl = Exact(allow_null=True)
    gross_pnl = Exact(allow_null=True)
    fees = serializers.SerializerMethodField()
    funding = Exact()
    other_income = Exact(help_text="What a liquidation settles with the insurance fund.")
    fees_usd = serializers.SerializerMethodField()
    funding_usd = serializers.SerializerMethodField()
    other_income_usd = serializers.SerializerMethodField()
    unvalued_fees = serializers.DictField(help_text="Asset -> fees that are in no figure: their value is not known.")
    unvalued_income = serializers.DictField(help_text="The same of funding, other income and realised PnL.")
    net_is_complete = serializers.BooleanField(help_text="False: something that belongs into the net has no value.")
    max_adverse_excursion_usd = serializers.SerializerMethodField(
        help_text="How far it was in the red at the worst price seen: at fills, and by the mark at each monitor cycle."
    )
    max_favourable_excursion_usd = serializers.SerializerMethodField(help_text="How far in the black, likewise.")
    max_adverse_excursion_pct = serializers.SerializerMethodField(help_text="Percent of the entry price.")
    max_favourable_excursion_pct = serializers.SerializerMethodField(help_text="Percent of the entry price.")
    duration_seconds = serializers.SerializerMethodField(help_text="From first to last fill; null while open.")
    corrections = serializers.IntegerField(help_text="How often late fills or income changed the closed books.")
    exited_quantity = Exact()
    close_reason = serializers.CharField(help_text="Empty while the trade is open.")
    r_multiple = serializers.FloatField(allow_null=True, help_text="Net PnL in units of what the stop would have lost.")
    slippage_bps = serializers.SerializerMethodField(help_text="Of the entry; positive is worse than planned.")
    source = serializers.CharField(source="request.source")  # type: ignore[assignment]  # a field of that name
    strategy = serializers.CharField(source="request.strategy")
    orders = OrderOut(many=True, source="request.orders.all")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_stop_loss(self, trade: Trade) -> float | None:
        return _number(_levels(trade).stop)

    @extend_schema_field({"type": "number", "nullable": True})
    def get_take_profit(self, trade: Trade) -> float | None:
        return _number(_levels(trade).target)

    def get_model(self, trade: Trade) -> str:
        return Source(trade.request.source).model(trade.request.model)

    def get_confidence(self, trade: Trade) -> float:
        return float(trade.request.confidence or 0)

    @extend_schema_field(Exact)
    def get_fees(self, trade: Trade) -> str:
        return plain(trade.entry_fees + trade.exit_fees)

    @extend_schema_field(Exact(allow_null=True))
    def get_fees_usd(self, trade: Trade) -> str | None:
        return _usd(trade, trade.entry_fees + trade.exit_fees)

    @extend_schema_field(Exact(allow_null=True))
    def get_funding_usd(self, trade: Trade) -> str | None:
        return _usd(trade, trade.funding)

    @extend_schema_field(Exact(allow_null=True))
    def get_other_income_usd(self, trade: Trade) -> str | None:
        return _usd(trade, trade.other_income)

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_adverse_excursion_usd(self, trade: Trade) -> float | None:
        return _excursion_usd(trade, "adverse")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_favourable_excursion_usd(self, trade: Trade) -> float | None:
        return _excursion_usd(trade, "favourable")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_adverse_excursion_pct(self, trade: Trade) -> float | None:
        return _excursion(trade, "adverse_percent")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_max_favourable_excursion_pct(self, trade: Trade) -> float | None:
        return _excursion(trade, "favourable_percent")

    @extend_schema_field({"type": "number", "nullable": True})
    def get_duration_seconds(self, trade: Trade) -> float | None:
        return (trade.exit_at - trade.entry_at).total_seconds() if trade.exit_at else None

    def get_slippage_bps(self, trade: Trade) -> float:
        return float(basis_points(trade.slippage_fraction))


def _levels(trade: Trade) -> Levels:
    bracket = getattr(trade.request, "bracket", None)
    return levels_in(bracket.legs.all()) if bracket else NO_LEVELS


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _excursion(trade: Trade, figure: str) -> float | None:
    moved = trade.excursion
    return None if moved is None else float(getattr(moved, figure))


def _excursion_usd(trade: Trade, figure: str) -> float | None:
    moved = trade.excursion
    worth = trade.usd(getattr(moved, figure)) if moved else None
    return None if worth is None else float(worth)


def _usd(trade: Trade, amount: Decimal) -> str | None:
    worth = trade.usd(amount)
    return None if worth is None else plain(worth)
