"""User data: the exchange's listener, which turns changes into the events of an account's listen key."""

import asyncio
from decimal import Decimal
from itertools import takewhile
from typing import Any

from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.money import ZERO, cash, plain, price_text
from paper_exchange.core.orders import AlgoOrder, Fill, Order
from paper_exchange.core.symbols import Symbol
from paper_exchange.ws.events import (
    algo_event,
    contract_event,
    forced_event,
    margin_row,
    order_event,
    trade_lite,
)
from paper_exchange.ws.faults import StreamFault, StreamFaults
from paper_exchange.ws.hub import Hub, Json


class UserStream:
    """Costs nothing for accounts whose listen key has no connection."""

    def __init__(self, exchange: Exchange, hub: Hub) -> None:
        self._exchange = exchange
        self._hub = hub
        self.faults = StreamFaults(exchange.config.seed)
        self._held: dict[str, Json] = {}
        # Events that wait to be shuffled, by stream.
        self._groups: dict[str, list[Json]] = {}

    def order_changed(self, order: Order, execution: str, fill: Fill | None) -> None:
        stream = self._stream(order.account)
        if stream is None:
            return
        if fill is not None:
            self._send(order.account, stream, trade_lite(fill))
        self._send(order.account, stream, order_event(order, execution, fill))

    def algo_changed(self, algo: AlgoOrder) -> None:
        stream = self._stream(algo.account)
        if stream is not None:
            self._send(algo.account, stream, algo_event(algo))

    def account_changed(
        self,
        account: Account,
        reason: str,
        positions: list[Position],
        symbol: str = "",
        *,
        transferred: tuple[str, Decimal] | None = None,
    ) -> None:
        stream = self._stream(account)
        if stream is None:
            return
        event = self._account_event(account, reason, positions, transferred)
        if symbol:
            event["a"]["S"] = symbol
        self._send(account, stream, event)

    def leverage_changed(self, account: Account, symbol: str, leverage: int) -> None:
        self._config(account, {"ac": {"s": symbol, "l": leverage}})

    def assets_mode_changed(self, account: Account) -> None:
        self._config(account, {"ai": {"j": account.multi_assets}})

    def margin_called(self, account: Account, positions: list[Position]) -> None:
        stream = self._stream(account)
        if stream is None:
            return
        markets = self._exchange.state.markets
        rows = [margin_row(account, position, markets[position.symbol.name]) for position in positions]
        margin = account.margin_of(positions[0].symbol) if positions else account.asset
        event: Json = {"e": "MARGIN_CALL", "cw": cash(account.cross(margin)), "p": rows}
        self._send(account, stream, event)

    def forced_order(self, order: Order) -> None:
        """Print a liquidation publicly."""
        event = forced_event(order, self._exchange.clock.now_ms())
        self._hub.publish(f"{order.symbol.name.lower()}@forceOrder", event)
        self._hub.publish("!forceOrder@arr", event)

    def contract_changed(self, symbol: Symbol, *, with_brackets: bool = False) -> None:
        """Publish that a contract was listed, that it ended, or that its terms have changed."""
        self._hub.awaken()
        event = contract_event(symbol, self._exchange.clock.now_ms(), with_brackets=with_brackets)
        self._hub.publish("!contractInfo", event)

    def listen_key_closed(self, text: str) -> None:
        """Close the streams of a deleted key."""
        for connection in self._hub.listeners(text):
            connection.close()

    def drop_connections(self, account: str | None) -> int:
        """Cut all user stream connections of an account, or all connections, and return how many there were."""
        key = self._exchange.listen_keys.text_of(account) if account else None
        connections = self._hub.listeners(key) if key else ([] if account else list(self._hub.connections))
        for connection in connections:
            connection.cut()
        return len(connections)

    def expire_keys(self, now: int) -> None:
        """Send listenKeyExpired to the connections of keys whose hour is over. Then their streams stay silent."""
        for key in self._exchange.listen_keys.expired(now):
            event: Json = {"e": "listenKeyExpired", "E": now, "listenKey": key.text}
            self._hub.publish(key.text, event, "listenKeyExpired")
            for connection in self._hub.listeners(key.text):
                self._hub.unsubscribe(connection, key.text)

    def _config(self, account: Account, change: Json) -> None:
        stream = self._stream(account)
        if stream is not None:
            now = self._exchange.clock.now_ms()
            self._send(account, stream, {"e": "ACCOUNT_CONFIG_UPDATE", "T": now, **change})

    def _stream(self, account: Account) -> str | None:
        key = self._exchange.listen_keys.text_of(account.key)
        return key if key is not None and self._hub.has_listeners(key) else None

    def _send(self, account: Account, stream: str, event: Json) -> None:
        kind = str(event["e"])
        times = {name: event.pop(name) for name in ("T",) if name in event}
        stamped = {"e": kind, **times, "E": self._exchange.clock.now_ms(), **event}
        fault = self.faults.pick(account.key, kind) if self.faults.rules else None
        if fault is None:
            self._publish(stream, stamped)
        else:
            self._publish_faulty(stream, stamped, fault)

    def _publish(self, stream: str, event: Json) -> None:
        self._hub.publish(stream, event, str(event["e"]))
        held = self._held.pop(stream, None)
        if held is not None:
            self._hub.publish(stream, held, str(held["e"]))

    def _publish_faulty(self, stream: str, event: Json, fault: StreamFault) -> None:
        match fault.action:
            case "duplicate":
                self._publish(stream, event)
                self._publish(stream, event)
            case "delay":
                loop = asyncio.get_running_loop()
                loop.call_later(fault.ms / 1000, self._publish, stream, event)
            case "swap":
                # It follows the next event.
                self._held[stream] = event
            case "shuffle":
                self._shuffle(stream, event, fault)
            case _:
                return

    def _shuffle(self, stream: str, event: Json, fault: StreamFault) -> None:
        """Collect events until there are enough, or none came for a while. Then send them in any order."""
        group = self._groups.setdefault(stream, [])
        if not group:
            asyncio.get_running_loop().call_later(fault.ms / 1000, self._release, stream, group)
        group.append(event)
        if len(group) >= fault.size:
            self._release(stream, group)

    def _release(self, stream: str, group: list[Json]) -> None:
        if self._groups.get(stream) is not group:
            return
        del self._groups[stream]
        self.faults.random.shuffle(group)
        for event in group:
            self._publish(stream, event)

    def _account_event(
        self, account: Account, reason: str, positions: list[Position], transferred: tuple[str, Decimal] | None
    ) -> dict[str, Any]:
        moved, amount = transferred or ("", ZERO)
        # Only the assets that moved, and those that stand behind the positions.
        concerned = {moved, *(account.margin_of(position.symbol) for position in positions)} | _moved(account)
        balances = [
            (asset, account.balance(asset), account.cross(asset)) for asset in account.assets() if asset in concerned
        ]
        body = {
            "m": reason,
            "B": [
                {"a": asset, "wb": cash(wallet), "cw": cash(cross), "bc": plain(amount) if asset == moved else "0"}
                for asset, wallet, cross in balances
            ],
            "P": [self._position(account, position) for position in positions],
        }
        return {"e": "ACCOUNT_UPDATE", "T": account.updated, "a": body}

    def _position(self, account: Account, position: Position) -> Json:
        mark = self._exchange.state.markets[position.symbol.name].mark
        return {
            "s": position.symbol.name,
            "pa": position.symbol.quantity_text(position.amount) if position.amount else "0",
            "ep": price_text(position.entry),
            "bep": price_text(position.break_even),
            "cr": plain(position.realized),
            "up": cash(position.unrealized(mark)),
            "mt": "isolated" if account.setting(position.symbol).isolated else "cross",
            "iw": plain(position.isolated_wallet),
            "ps": position.side,
        }


def _moved(account: Account) -> set[str]:
    """Return the assets whose balance changed at the moment of the account's last change."""
    latest = takewhile(lambda row: row.time == account.updated, reversed(account.income))
    return {row.asset for row in latest}
