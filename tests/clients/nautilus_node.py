"""A live node of NautilusTrader with a strategy that goes through an order's whole life, on the paper exchange."""

# mypy: disable-error-code="import-not-found"

import asyncio
from typing import Any

from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import InstrumentProviderConfig, LiveExecEngineConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.trading.strategy import Strategy

from tests.clients.script import Target

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
LOT = "0.010"
# Bound of a run that hangs; the runner's own alarm is later.
LONGEST_S = 30.0


class RoundTrip(Strategy):  # type: ignore[misc]
    """Rests a LIMIT order, amends it, cancels it; then buys at market and sells what it holds."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self._journal = journal

    def on_start(self) -> None:
        instrument = self.cache.instrument(INSTRUMENT)
        self._journal.append(f"loaded {instrument.raw_symbol}, tick {instrument.price_increment}")
        self.subscribe_quote_ticks(INSTRUMENT)

    def on_quote_tick(self, tick: Any) -> None:
        self.unsubscribe_quote_ticks(INSTRUMENT)
        if any(line.startswith("quote") for line in self._journal):
            return
        self._journal.append(f"quote {tick.bid_price} {tick.ask_price}")
        self.submit_order(
            self.order_factory.limit(INSTRUMENT, OrderSide.BUY, self._quantity(LOT), self._price("49000.0"))
        )

    def on_order_accepted(self, event: Any) -> None:
        order = self.cache.order(event.client_order_id)
        if order.has_price:
            self._journal.append(f"accepted {order.quantity} at {order.price}")
            self.modify_order(order, quantity=self._quantity("0.020"), price=self._price("48900.0"))

    def on_order_updated(self, event: Any) -> None:
        self._journal.append(f"amended to {event.quantity} at {event.price}")
        self.cancel_order(self.cache.order(event.client_order_id))

    def on_order_canceled(self, event: Any) -> None:
        self._journal.append(f"cancelled after {self.cache.order(event.client_order_id).filled_qty} filled")
        self._market(OrderSide.BUY)

    def on_order_filled(self, event: Any) -> None:
        self._journal.append(f"filled {event.order_side.name} {event.last_qty} at {event.last_px}, {event.commission}")

    def on_order_rejected(self, event: Any) -> None:
        self._journal.append(f"rejected: {event.reason}")
        self.shutdown_system()

    on_order_denied = on_order_modify_rejected = on_order_cancel_rejected = on_order_rejected

    def on_position_opened(self, event: Any) -> None:
        self._journal.append(f"opened {event.side.name} {event.quantity} at {event.avg_px_open}")
        self._market(OrderSide.SELL, reduce_only=True)

    def on_position_closed(self, event: Any) -> None:
        self._journal.append(f"closed at {event.avg_px_close}")
        self.shutdown_system()

    def _market(self, side: OrderSide, *, reduce_only: bool = False) -> None:
        order = self.order_factory.market(INSTRUMENT, side, self._quantity(LOT), reduce_only=reduce_only)
        self.submit_order(order)

    def _quantity(self, text: str) -> Any:
        return self.cache.instrument(INSTRUMENT).make_qty(text)

    def _price(self, text: str) -> Any:
        return self.cache.instrument(INSTRUMENT).make_price(text)


def trade(target: Target) -> list[str]:
    """Run the node until the strategy has closed its position, and return what it has seen."""
    journal: list[str] = []
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    node = TradingNode(config=_config(target), loop=loop)
    node.trader.add_strategy(RoundTrip(journal))
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    node.build()
    bound = loop.call_later(LONGEST_S, node.stop)
    try:
        node.run()
    finally:
        bound.cancel()
        node.dispose()
    return journal


def _config(target: Target) -> TradingNodeConfig:
    venue: dict[str, Any] = {
        "api_key": target.key,
        "api_secret": target.secret,
        "account_type": BinanceAccountType.USDT_FUTURES,
        "base_url_http": target.rest,
        "base_url_ws": target.streams,
        "instrument_provider": InstrumentProviderConfig(load_all=True),
    }
    return TradingNodeConfig(
        trader_id="TESTER-001",
        logging=LoggingConfig(log_level="ERROR", log_colors=False),
        exec_engine=LiveExecEngineConfig(reconciliation=True),
        data_clients={BINANCE: BinanceDataClientConfig(**venue)},
        exec_clients={BINANCE: BinanceExecClientConfig(**venue)},
        timeout_connection=20.0,
        timeout_reconciliation=10.0,
        timeout_portfolio=10.0,
        timeout_disconnection=5.0,
        timeout_post_stop=0.5,
    )
