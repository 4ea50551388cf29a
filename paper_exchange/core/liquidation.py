"""Forced closing: when maintenance margin eats the balance, or when a test asks for it."""

from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.contract_changes import is_halted
from paper_exchange.core.margin import cross_margin, crossed, maintenance_margin
from paper_exchange.core.margin_assets import exchange_for_debt
from paper_exchange.core.market import Market
from paper_exchange.core.matching import BY_LIQUIDATION, Matching
from paper_exchange.core.money import ZERO, to_cash
from paper_exchange.core.orders import Order
from paper_exchange.core.settlement import settle
from paper_exchange.core.state import State

# Share of the balance that maintenance has to reach before the owner is warned.
CALL_SHARE: Final = Decimal("0.8")


class Liquidation:
    def __init__(self, state: State, matching: Matching) -> None:
        self._state = state
        self._matching = matching

    def check(self, market: Market) -> None:
        """Look at the accounts that hold something in a market whose price has moved."""
        for account in self._state.accounts.values():
            self._check_positions(account, market)
            # A stop may have closed beyond bankruptcy what the price jumped over, before this look at it.
            margin = account.margin_of(market.symbol)
            if account.balance(margin) < 0 or (account.setting(market.symbol).isolated and account.cross(margin) < 0):
                self._pay_debt(account, margin)

    def check_all(self) -> None:
        """Look once at all accounts, after the prices of all markets have moved."""
        for account in self._state.accounts.values():
            for position in account.held():
                market = self._state.markets[position.symbol.name]
                if account.setting(position.symbol).isolated and not is_halted(market.symbol) and position.amount:
                    self._check_isolated(account, market, position)
            crossed_in = sorted({account.margin_of(position.symbol) for position in crossed(account)})
            # In multi-assets mode one look is a look at all.
            for asset in crossed_in[:1] if account.multi_assets else crossed_in:
                self._check_cross(account, asset)
            for asset in account.assets():
                if account.balance(asset) < 0 or account.cross(asset) < 0:
                    self._pay_debt(account, asset)

    def _check_positions(self, account: Account, market: Market) -> None:
        held = [
            position
            for side in account.sides()
            if (position := account.positions.get((market.symbol.name, side))) and position.amount
        ]
        if not held:
            return
        if account.setting(market.symbol).isolated:
            for position in held:
                self._check_isolated(account, market, position)
        else:
            self._check_cross(account, account.margin_of(market.symbol))

    def force(self, position: Position, account: Account, kind: str) -> Order:
        """Close a position by a control call. A liquidation first ends the symbol's orders."""
        if kind == "LIQUIDATION":
            self._cancel_orders(account, position.symbol.name)
        return self.close(position, account, kind)

    def close(self, position: Position, account: Account, kind: str = "LIQUIDATION") -> Order:
        """Close a position at the mark price. `kind` is LIQUIDATION or ADL."""
        market = self._state.markets[position.symbol.name]
        isolated_wallet = position.isolated_wallet if account.setting(position.symbol).isolated else None
        order = self._order(account, market, position, kind)
        self._state.add_order(order)
        account.force_orders.append((kind, order))
        trade = market.print_trade(order.price, order.quantity, order.created, buyer_is_maker=order.side == "SELL")
        fill = settle(
            self._state, order, order.price, order.quantity, maker=False, trade_id=trade.trade_id, fee_rate=ZERO
        )
        if kind == "LIQUIDATION":
            self._clear(account, order, None if isolated_wallet is None else isolated_wallet + fill.realized)
        self._state.listener.order_changed(order, "CALCULATED", fill)
        self._state.listener.account_changed(account, "ORDER", [position])
        self._state.listener.forced_order(order)
        self._matching.drop_idle_reducers(order)
        return order

    def _check_isolated(self, account: Account, market: Market, position: Position) -> None:
        needed = maintenance_margin(market.symbol, abs(position.amount * market.mark))
        if needed < position.isolated_wallet + position.unrealized(market.mark):
            return
        self._cancel_orders(account, market.symbol.name)
        self.close(position, account)

    def _check_cross(self, account: Account, asset: str) -> None:
        """Close the cross positions of a balance that cannot bear them: an asset's, or in multi-assets all."""
        positions = crossed(account, None if account.multi_assets else asset)
        balance, needed = cross_margin(account, self._state.markets, asset)
        if needed >= balance:
            for symbol in sorted({p.symbol.name for p in positions}):
                self._cancel_orders(account, symbol)
            for position in positions:
                self.close(position, account)
            for margin in sorted({asset, *(account.margin_of(position.symbol) for position in positions)}):
                self._fill_up(account, margin)
        self._call(account, positions, "USD" if account.multi_assets else asset, needed >= balance * CALL_SHARE)

    def _call(self, account: Account, positions: list[Position], balance: str, is_close: bool) -> None:  # noqa: FBT001
        """Warn the owner once, until the balance has recovered."""
        if is_close and balance not in account.margin_calls:
            self._state.listener.margin_called(account, [p for p in positions if p.amount])
        (account.margin_calls.add if is_close else account.margin_calls.discard)(balance)

    def _cancel_orders(self, account: Account, symbol: str) -> None:
        for order in list(account.open_orders[symbol].values()):
            self._matching.close(order, "EXPIRED", BY_LIQUIDATION)

    def _clear(self, account: Account, order: Order, left: Decimal | None) -> None:
        """Charge the liquidation fee, at most what is left. A shortfall of isolated margin is made up for."""
        fee = to_cash(order.quote * order.symbol.liquidation_fee)
        asset = account.margin_of(order.symbol)
        available = account.cross(asset) if left is None else left
        amount = -min(fee, available) if available > 0 else (-available if left is not None else ZERO)
        if amount:
            symbol = order.symbol.name
            self._state.book_income(account, "INSURANCE_CLEAR", to_cash(amount), symbol=symbol, asset=asset)

    def _fill_up(self, account: Account, asset: str) -> None:
        """Let other assets, then the insurance fund pay what the cross wallet of an asset owes."""
        if asset == account.asset:
            exchange_for_debt(self._state, account)
        if account.cross(asset) < 0:
            self._state.book_income(account, "INSURANCE_CLEAR", -account.cross(asset), asset=asset)

    def _pay_debt(self, account: Account, asset: str) -> None:
        """Fill up, unless an open cross position may still earn what is missing."""
        if not crossed(account, None if account.multi_assets else asset):
            self._fill_up(account, asset)

    def _order(self, account: Account, market: Market, position: Position, kind: str) -> Order:
        now = self._state.clock.now_ms()
        tick = market.symbol.tick
        return Order(
            order_id=next(self._state.order_ids),
            account=account,
            symbol=market.symbol,
            client_id="adl_autoclose" if kind == "ADL" else f"autoclose-{now}",
            side="SELL" if position.amount > 0 else "BUY",
            type="LIMIT",
            time_in_force="IOC",
            quantity=abs(position.amount),
            price=(market.mark / tick).to_integral_value() * tick,
            position_side=position.side,
            reduce_only=True,
            created=now,
            updated=now,
        )
