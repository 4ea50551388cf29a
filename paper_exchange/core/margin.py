"""Margin arithmetic of an account: what is bound, what is free, what maintenance needs.

In single-asset mode each asset stands alone behind the contracts that are margined in it. In multi-assets mode all of
them together stand behind all contracts, at their index price less a buffer.
"""

from dataclasses import dataclass, fields, replace
from decimal import Decimal

from paper_exchange.core.accounts import Account, Exposure, Position
from paper_exchange.core.margin_assets import counted, index_price
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
    """The account's figures in one asset, each rounded to cash."""

    wallet: Decimal
    cross_wallet: Decimal
    unrealized: Decimal
    cross_unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    available: Decimal
    # What cross positions and open orders bind.
    bound: Decimal

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


def account_figures(account: Account, markets: dict[str, Market], asset: str = "") -> Figures:
    """Return the figures of the contracts that are margined in an asset, and what of the asset is free.

    Without an asset it is the wallet's own.
    """
    asset = asset or account.asset
    figures = _own_figures(account, markets, asset)
    if not account.multi_assets:
        return figures
    free = max(free_dollars(account, markets), ZERO)
    available = to_cash(free / index_price(markets, asset))
    return replace(figures, available=available)


def total_figures(account: Account, markets: dict[str, Market]) -> Figures:
    """Return an account's totals: of the wallet's own asset, or in multi-assets mode of all in USD."""
    if not account.multi_assets:
        return account_figures(account, markets)
    totals = dict.fromkeys((field.name for field in fields(Figures)), ZERO)
    for asset in account.assets():
        own, price = _own_figures(account, markets, asset), index_price(markets, asset)
        for name in totals:
            totals[name] += getattr(own, name) * price
    totals["available"] = max(free_dollars(account, markets), ZERO)
    return Figures(**{name: to_cash(total) for name, total in totals.items()})


def free_dollars(account: Account, markets: dict[str, Market]) -> Decimal:
    """Dollars that are free in multi-assets mode: what all assets are good for, less what is bound."""
    free = ZERO
    for asset in account.assets():
        own, price = _own_figures(account, markets, asset), index_price(markets, asset)
        free += counted(markets, asset, own.cross_wallet + own.cross_unrealized) - own.bound * price
    return free


def _own_figures(account: Account, markets: dict[str, Market], asset: str) -> Figures:
    unrealized = cross_unrealized = position_initial = order_initial = maintenance = bound = ZERO
    for symbol, side in live_rows(account):
        market = markets[symbol]
        if account.margin_of(market.symbol) != asset:
            continue
        row = side_margin(account, market, side)
        unrealized += row.unrealized
        position_initial += row.position_initial
        order_initial += row.order_initial
        maintenance += row.maintenance
        bound += row.order_initial
        if not account.setting(market.symbol).isolated:
            cross_unrealized += row.unrealized
            bound += row.position_initial
    cross_wallet = account.cross(asset)
    return Figures(
        wallet=account.balance(asset),
        cross_wallet=cross_wallet,
        unrealized=unrealized,
        cross_unrealized=cross_unrealized,
        position_initial=position_initial,
        order_initial=order_initial,
        maintenance=maintenance,
        available=max(cross_wallet + cross_unrealized - bound, ZERO),
        bound=bound,
    )


def live_rows(account: Account) -> list[tuple[str, PositionSide]]:
    """Return (symbol, side) of every position, and of every side with open orders that may enlarge one."""
    return sorted({*account.open_positions, *account.exposures})


def cross_margin(account: Account, markets: dict[str, Market], asset: str) -> tuple[Decimal, Decimal]:
    """Return the balance behind the cross positions of an asset, and their maintenance margin.

    In multi-assets mode that is all assets and all cross positions, expressed in the asset.
    """
    if not account.multi_assets:
        return _cross_of(account, markets, asset)
    balance = needed = ZERO
    for name in account.assets():
        price = index_price(markets, name)
        own, own_needed = _cross_of(account, markets, name)
        balance += counted(markets, name, own)
        needed += own_needed * price
    price = index_price(markets, asset)
    return balance / price, needed / price


def _cross_of(account: Account, markets: dict[str, Market], asset: str) -> tuple[Decimal, Decimal]:
    balance, needed = account.cross(asset), ZERO
    for position in crossed(account, asset):
        mark = markets[position.symbol.name].mark
        balance += position.unrealized(mark)
        needed += maintenance_margin(position.symbol, abs(position.amount * mark))
    return balance, needed


def crossed(account: Account, asset: str | None = None) -> list[Position]:
    """Return the cross positions that are margined in an asset, or all of them."""
    return [
        position
        for position in account.held()
        if asset in {None, account.margin_of(position.symbol)} and not account.setting(position.symbol).isolated
    ]


def cross_balance(account: Account, markets: dict[str, Market], asset: str) -> Decimal:
    """Return what stands behind the cross positions once all of them have their maintenance margin."""
    balance, needed = cross_margin(account, markets, asset)
    return balance - needed


def _surplus(position: Position, markets: dict[str, Market]) -> Decimal:
    """Return what a position adds to a shared balance: unrealised result less maintenance margin."""
    mark = markets[position.symbol.name].mark
    return position.unrealized(mark) - maintenance_margin(position.symbol, abs(position.amount * mark))


def liquidation_price(
    account: Account, markets: dict[str, Market], position: Position, cross: Decimal | None = None
) -> Decimal:
    """Mark price at which this position would be closed by force. Zero when there is none.

    `cross`: the account's cross balance in the contract's margin asset, for a caller that asks for many positions.
    """
    if not position.amount:
        return ZERO
    if account.setting(position.symbol).isolated:
        wallet = position.isolated_wallet
    else:
        balance = cross_balance(account, markets, account.margin_of(position.symbol)) if cross is None else cross
        wallet = balance - _surplus(position, markets)
    quantity, sign = abs(position.amount), 1 if position.amount > 0 else -1
    bracket = position.symbol.bracket_of(quantity * markets[position.symbol.name].mark)
    divisor = quantity * bracket.maint_ratio - sign * quantity
    price = (wallet + bracket.cum - sign * quantity * position.entry) / divisor
    return max(price, ZERO)
