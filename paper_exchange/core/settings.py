"""Changes of an account's settings, with the guards that positions and open orders put on them."""

from decimal import Decimal

from paper_exchange.core.accounts import Account, MarginChange, Position
from paper_exchange.core.margin import account_figures, free_dollars
from paper_exchange.core.market import Market
from paper_exchange.core.orders import PositionSide
from paper_exchange.core.rules import MAX_LEVERAGE
from paper_exchange.core.state import State
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import refuse


def change_leverage(state: State, account: Account, market: Market, leverage: int) -> Decimal:
    """Set a symbol's leverage and return the largest notional it allows."""
    symbol = market.symbol
    if not 1 <= leverage <= min(MAX_LEVERAGE, symbol.brackets[0].leverage):
        raise refuse(-4028, leverage=leverage)
    setting, held = account.setting(symbol), _held_notional(account, market)
    if setting.isolated and held and leverage < setting.leverage:
        raise refuse(-4161)
    if held > symbol.max_notional(leverage):
        raise refuse(-2027)
    before = setting.leverage
    setting.leverage = leverage
    if leverage < before and not _is_covered(state, account, account.margin_of(symbol)):
        setting.leverage = before
        raise refuse(-2028)
    if leverage != before:
        state.listener.leverage_changed(account, symbol.name, leverage)
    return symbol.max_notional(leverage)


def fit_leverage(state: State, symbol: Symbol) -> None:
    """Bring settings above a contract's new largest leverage down to it.

    Open positions then bind more margin.
    """
    for account in state.accounts.values():
        setting = account.setting(symbol)
        if setting.leverage > symbol.max_leverage:
            setting.leverage = symbol.max_leverage
            state.listener.leverage_changed(account, symbol.name, symbol.max_leverage)


def change_margin_type(state: State, account: Account, market: Market, *, isolated: bool) -> None:
    setting, symbol = account.setting(market.symbol), market.symbol
    if setting.isolated == isolated:
        raise refuse(-4046)
    if isolated and account.multi_assets:
        raise refuse(-4168)
    if account.has_open_orders(symbol.name):
        raise refuse(-4047)
    if _held_notional(account, market):
        raise refuse(-4048)
    setting.isolated = isolated
    positions = [account.position(symbol, side) for side in account.sides()]
    state.listener.account_changed(account, "MARGIN_TYPE_CHANGE", positions)


def change_position_mode(account: Account, *, dual: bool) -> None:
    if account.dual_side == dual:
        raise refuse(-4059)
    if account.has_open_orders():
        raise refuse(-4067)
    if account.held():
        raise refuse(-4068)
    account.dual_side = dual


def change_assets_mode(state: State, account: Account, *, multi: bool) -> None:
    if account.multi_assets == multi:
        raise refuse(-4171)
    if multi and any(setting.isolated for setting in account.settings.values()):
        raise refuse(-4167)
    if account.has_open_orders():
        raise refuse(-4170)
    if any(account.balance(asset) < 0 for asset in account.assets()):
        raise refuse(-4172)
    account.multi_assets = multi
    if not all(_is_covered(state, account, asset) for asset in account.assets()):
        account.multi_assets = not multi
        raise refuse(-4169)
    state.listener.assets_mode_changed(account)


def change_position_margin(state: State, account: Account, market: Market, side: PositionSide, amount: Decimal) -> None:
    """Move money into an isolated position (positive) or out of it (negative)."""
    position = account.positions.get((market.symbol.name, side))
    if not account.setting(market.symbol).isolated:
        raise refuse(-4049)
    if position is None or not position.amount:
        raise refuse(-4054)
    if amount > account_figures(account, state.markets, account.margin_of(market.symbol)).available:
        raise refuse(-4050)
    if amount < 0 and -amount > _removable(account, market, position):
        raise refuse(-4051)
    position.isolated_wallet += amount
    now = state.clock.now_ms()
    account.margin_changes.append(MarginChange(symbol=market.symbol.name, side=side, amount=amount, time=now))
    state.listener.account_changed(account, "MARGIN_TRANSFER", [position])


def _removable(account: Account, market: Market, position: Position) -> Decimal:
    """Margin above the initial margin, losses counted and profits not."""
    bound = abs(position.amount * market.mark) / account.setting(market.symbol).leverage
    return position.isolated_wallet + min(position.unrealized(market.mark), Decimal(0)) - bound


def _held_notional(account: Account, market: Market) -> Decimal:
    return sum(
        (abs(account.amount(market.symbol, side)) * market.mark for side in account.sides()),
        Decimal(0),
    )


def _is_covered(state: State, account: Account, asset: str) -> bool:
    """Return whether what is bound of an asset is there.

    In multi-assets mode, whether all that is bound is.
    """
    if account.multi_assets:
        return free_dollars(account, state.markets) >= 0
    figures = account_figures(account, state.markets, asset)
    return figures.initial <= figures.margin_balance
