"""Margin arithmetic of an account in single-asset mode: what is bound, what is free, what maintenance needs."""

from dataclasses import dataclass
from decimal import Decimal

from paper_exchange.core.accounts import Account, Exposure, Position
from paper_exchange.core.coins import collateral, worth
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO, to_cash
from paper_exchange.core.orders import PositionSide
from paper_exchange.core.symbols import Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class SideMargin:
    """Margin of one position row, with its open orders."""

    notional: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The account's totals, each rounded to cash."""

    wallet: Decimal
    cross_wallet: Decimal
    unrealized: Decimal
    cross_unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    available: Decimal
    # Value of the other assets in USD, in multi-assets mode.
    coins_worth: Decimal

    @property
    def margin_balance(self) -> Decimal:
        return self.wallet + self.unrealized

    @property
    def initial(self) -> Decimal:
        return self.position_initial + self.order_initial


def maintenance_margin(symbol: Symbol, notional: Decimal) -> Decimal:
    bracket = symbol.bracket_of(notional)
    return notional * bracket.maint_ratio - bracket.cum


def worst_notional(held: Decimal, exposure: Exposure) -> Decimal:
    """Largest notional that a position can grow to: all its bids filled, or all its asks."""
    return max(abs(held + exposure.bids), abs(held - exposure.asks))


def order_margin(held: Decimal, exposure: Exposure, leverage: int) -> Decimal:
    """Margin that open orders bind beyond the position's own."""
    return max(worst_notional(held, exposure) - abs(held), ZERO) / leverage


def side_margin(account: Account, market: Market, side: PositionSide) -> SideMargin:
    symbol = market.symbol
    position = account.positions.get((symbol.name, side))
    amount = position.amount if position else ZERO
    leverage = account.setting(symbol).leverage
    notional = amount * market.mark
    exposure = account.exposures.get((symbol.name, side))
    return SideMargin(
        notional=to_cash(notional),
        unrealized=to_cash(position.unrealized(market.mark)) if position else ZERO,
        position_initial=to_cash(abs(notional) / leverage),
        order_initial=to_cash(order_margin(notional, exposure, leverage)) if exposure else ZERO,
        maintenance=to_cash(maintenance_margin(symbol, abs(notional))) if amount else ZERO,
    )


def account_figures(account: Account, markets: dict[str, Market]) -> Figures:
    unrealized = cross_unrealized = position_initial = order_initial = maintenance = ZERO
    isolated = bound = ZERO
    for symbol, side in live_rows(account):
        market = markets[symbol]
        row = side_margin(account, market, side)
        unrealized += row.unrealized
        position_initial += row.position_initial
        order_initial += row.order_initial
        maintenance += row.maintenance
        bound += row.order_initial
        if account.setting(market.symbol).isolated:
            isolated += account.position(market.symbol, side).isolated_wallet
        else:
            cross_unrealized += row.unrealized
            bound += row.position_initial
    cross_wallet = account.wallet - isolated
    return Figures(
        wallet=account.wallet,
        cross_wallet=cross_wallet,
        unrealized=unrealized,
        cross_unrealized=cross_unrealized,
        position_initial=position_initial,
        order_initial=order_initial,
        maintenance=maintenance,
        available=max(cross_wallet + collateral(account, markets) + cross_unrealized - bound, ZERO),
        coins_worth=worth(account, markets),
    )


def live_rows(account: Account) -> list[tuple[str, PositionSide]]:
    """Return (symbol, side) of every position held and of every side with open orders that may enlarge one."""
    return sorted({*account.open_positions, *account.exposures})


def cross_balance(account: Account, markets: dict[str, Market]) -> Decimal:
    """Return what stands behind the cross positions once all of them have their maintenance margin."""
    balance = account_figures(account, markets).cross_wallet + collateral(account, markets)
    crossed = (position for position in account.held() if not account.setting(position.symbol).isolated)
    return sum((_surplus(position, markets) for position in crossed), balance)


def _surplus(position: Position, markets: dict[str, Market]) -> Decimal:
    """Return what a position adds to a shared balance: its unrealised result without its maintenance margin."""
    mark = markets[position.symbol.name].mark
    return position.unrealized(mark) - maintenance_margin(position.symbol, abs(position.amount * mark))


def liquidation_price(
    account: Account, markets: dict[str, Market], position: Position, cross: Decimal | None = None
) -> Decimal:
    """Mark price at which this position would be closed by force; zero when there is none.

    `cross`: the account's cross balance, for a caller that asks for many positions.
    """
    if not position.amount:
        return ZERO
    if account.setting(position.symbol).isolated:
        wallet = position.isolated_wallet
    else:
        wallet = (cross_balance(account, markets) if cross is None else cross) - _surplus(position, markets)
    quantity, sign = abs(position.amount), 1 if position.amount > 0 else -1
    bracket = position.symbol.bracket_of(quantity * markets[position.symbol.name].mark)
    divisor = quantity * bracket.maint_ratio - sign * quantity
    price = (wallet + bracket.cum - sign * quantity * position.entry) / divisor
    return max(price, ZERO)
