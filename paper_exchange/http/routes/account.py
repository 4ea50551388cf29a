"""What an account has: positions, balances, income, fees and limits."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account, Income, Position
from paper_exchange.core.margin import (
    Figures,
    SideMargin,
    account_figures,
    cross_balance,
    liquidation_price,
    side_margin,
    total_figures,
)
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO, cash, plain, price_text
from paper_exchange.core.orders import PositionSide
from paper_exchange.errors import refuse
from paper_exchange.http import render
from paper_exchange.http.calls import Call, Route, RouteTable
from paper_exchange.http.render import Json
from paper_exchange.http.routes.listing import order_limits as limits_of_orders
from paper_exchange.http.routes.pages import Window, cut, read_span, within

# With both times no longest period is documented.
INCOME: Final = Window(page=100, most=1000, most_ms=None)
INCOME_TYPES: Final = frozenset(
    {
        "TRANSFER",
        "WELCOME_BONUS",
        "REALIZED_PNL",
        "FUNDING_FEE",
        "SPECIAL_FUNDING_FEE",
        "COMMISSION",
        "INSURANCE_CLEAR",
        "REFERRAL_KICKBACK",
        "COMMISSION_REBATE",
        "API_REBATE",
        "CONTEST_REWARD",
        "CROSS_COLLATERAL_TRANSFER",
        "OPTIONS_PREMIUM_FEE",
        "OPTIONS_SETTLE_PROFIT",
        "INTERNAL_TRANSFER",
        "AUTO_EXCHANGE",
        # So spelled by the exchange.
        "DELIVERED_SETTELMENT",
        "COIN_SWAP_DEPOSIT",
        "COIN_SWAP_WITHDRAW",
        "POSITION_LIMIT_INCREASE_FEE",
        "STRATEGY_UMFUTURES_TRANSFER",
        "FEE_RETURN",
        "BFUSD_REWARD",
    }
)


class CrossBalances:
    """An account's cross balances by margin asset, each worked out once."""

    def __init__(self, account: Account, markets: dict[str, Market]) -> None:
        self._account = account
        self._markets = markets
        self._known: dict[str, Decimal] = {}

    def of(self, asset: str) -> Decimal:
        if asset not in self._known:
            self._known[asset] = cross_balance(self._account, self._markets, asset)
        return self._known[asset]


def positions_v3(call: Call) -> object:
    """Positions and sides with open orders only."""
    account = call.account
    cross = CrossBalances(account, call.exchange.state.markets)
    return [
        position_v3(call, market, side, cross)
        for market, side in rows(call)
        if account.amount(market.symbol, side) or account.open_orders[market.symbol.name]
    ]


def positions_v2(call: Call) -> object:
    """Every symbol, held or not."""
    cross = CrossBalances(call.account, call.exchange.state.markets)
    return [position_v2(call, market, side, cross) for market, side in rows(call)]


def rows(call: Call) -> Iterator[tuple[Market, PositionSide]]:
    for market in call.markets():
        for side in call.account.sides():
            yield market, side


def position_v3(call: Call, market: Market, side: PositionSide, cross: CrossBalances) -> Json:
    position, row = _row(call, market, side)
    exposure = call.account.exposures.get((market.symbol.name, side))
    return {
        "symbol": market.symbol.name,
        "positionSide": side,
        "positionAmt": market.symbol.quantity_text(position.amount),
        **_prices(call, market, position, cross),
        "unRealizedProfit": cash(row.unrealized),
        "isolatedMargin": _isolated_margin(position, row),
        "notional": cash(row.notional) if row.notional else "0",
        "marginAsset": call.account.margin_of(market.symbol),
        "isolatedWallet": _isolated_wallet(position),
        "initialMargin": cash(row.position_initial + row.order_initial),
        "maintMargin": cash(row.maintenance),
        "positionInitialMargin": cash(row.position_initial),
        "openOrderInitialMargin": cash(row.order_initial),
        "adl": 1 if position.amount else 0,
        "bidNotional": plain(exposure.bids) if exposure else "0",
        "askNotional": plain(exposure.asks) if exposure else "0",
        "updateTime": position.updated,
    }


def position_v2(call: Call, market: Market, side: PositionSide, cross: CrossBalances) -> Json:
    position, row = _row(call, market, side)
    setting = call.account.setting(market.symbol)
    return {
        "symbol": market.symbol.name,
        "positionAmt": market.symbol.quantity_text(position.amount),
        **_prices(call, market, position, cross),
        "unRealizedProfit": cash(row.unrealized),
        "leverage": str(setting.leverage),
        "maxNotionalValue": plain(market.symbol.max_notional(setting.leverage)),
        "marginType": "isolated" if setting.isolated else "cross",
        "isolatedMargin": _isolated_margin(position, row),
        "isAutoAddMargin": "false",
        "positionSide": side,
        "notional": cash(row.notional) if row.notional else "0",
        "isolatedWallet": _isolated_wallet(position),
        "updateTime": position.updated,
    }


def account_v3(call: Call) -> object:
    return {
        **render.totals(total_figures(call.account, call.exchange.state.markets)),
        "assets": _each_asset(call, render.asset),
        "positions": [_held(call, position) for position in call.account.held()],
    }


def account_v2(call: Call) -> object:
    account = call.account
    return {
        **_permissions(account),
        "feeBurn": account.fee_burn,
        **render.totals(total_figures(account, call.exchange.state.markets)),
        "assets": [row | {"marginAvailable": True} for row in _each_asset(call, render.asset)],
        "positions": [_account_row_v2(call, market, side) for market, side in rows(call)],
    }


def balance(call: Call) -> object:
    return _each_asset(call, render.balance)


def account_config(call: Call) -> object:
    return {**_permissions(call.account), "dualSidePosition": call.account.dual_side}


def symbol_config(call: Call) -> object:
    return [_symbol_config(call.account, market) for market in call.markets()]


def leverage_brackets(call: Call) -> object:
    chosen = call.chosen_market()
    if chosen is not None and call.exchange.state.assumptions.bracket_bare:
        return _brackets(chosen)
    return [_brackets(market) for market in call.markets()]


def commission_rate(call: Call) -> object:
    config = call.exchange.config
    return {
        "symbol": call.market().symbol.name,
        "makerCommissionRate": format(config.maker_rate, ".6f"),
        "takerCommissionRate": format(config.taker_rate, ".6f"),
        "rpiCommissionRate": format(config.rpi_rate, "f"),
    }


def income(call: Call) -> object:
    """List changes of the wallet, oldest first. `page` is no parameter any more and is not looked at."""
    symbol, kind = call.params.text("symbol"), call.params.text("incomeType")
    if kind not in {None, *INCOME_TYPES} and call.exchange.state.assumptions.unknown_income_type == "refuse":
        raise refuse(-1130, name="incomeType")

    def wanted(row: Income) -> bool:
        return symbol in {None, row.symbol} and kind in {None, row.type}

    span = read_span(call, INCOME)
    rows = within(call.account.income, span, lambda row: row.time)
    return [render.income(row) for row in cut(rows, span, call.limit(INCOME.page, INCOME.most), wanted)]


def order_limits(call: Call) -> object:
    return list(reversed(limits_of_orders(call)))


def _each_asset(call: Call, view: Callable[[Account, str, Figures], Json]) -> list[Json]:
    account, markets = call.account, call.exchange.state.markets
    return [view(account, name, account_figures(account, markets, name)) for name in account.assets()]


def _row(call: Call, market: Market, side: PositionSide) -> tuple[Position, SideMargin]:
    position = call.account.positions.get((market.symbol.name, side)) or Position(market.symbol, side)
    return position, side_margin(call.account, market, side)


def _prices(call: Call, market: Market, position: Position, cross: CrossBalances) -> Json:
    balance = cross.of(call.account.margin_of(market.symbol)) if position.amount else ZERO
    liquidation = liquidation_price(call.account, call.exchange.state.markets, position, balance)
    return {
        "entryPrice": entry_text(position.entry),
        "breakEvenPrice": entry_text(position.break_even),
        "markPrice": cash(market.mark),
        "liquidationPrice": market.symbol.price_text(liquidation) if liquidation else "0",
    }


def entry_text(price: Decimal) -> str:
    return price_text(price) if price else "0.0"


def _isolated_margin(position: Position, row: SideMargin) -> str:
    return cash(position.isolated_wallet + row.unrealized) if position.isolated_wallet else "0"


def _isolated_wallet(position: Position) -> str:
    return cash(position.isolated_wallet) if position.isolated_wallet else "0"


def _held(call: Call, position: Position) -> Json:
    """Row of `positions` in GET v3/account."""
    row = side_margin(call.account, call.exchange.state.markets[position.symbol.name], position.side)
    return {
        "symbol": position.symbol.name,
        "positionSide": position.side,
        "positionAmt": position.symbol.quantity_text(position.amount),
        "unrealizedProfit": cash(row.unrealized),
        "isolatedMargin": _isolated_margin(position, row),
        "isolatedWallet": _isolated_wallet(position),
        **render.margins(row),
        "updateTime": position.updated,
    }


def _account_row_v2(call: Call, market: Market, side: PositionSide) -> Json:
    position, row = _row(call, market, side)
    setting = call.account.setting(market.symbol)
    exposure = call.account.exposures.get((market.symbol.name, side))
    return {
        "symbol": market.symbol.name,
        "positionSide": side,
        "positionAmt": market.symbol.quantity_text(position.amount),
        "unrealizedProfit": cash(row.unrealized),
        "isolatedMargin": _isolated_margin(position, row),
        "isolatedWallet": _isolated_wallet(position),
        **render.margins(row),
        "positionInitialMargin": cash(row.position_initial),
        "openOrderInitialMargin": cash(row.order_initial),
        "leverage": str(setting.leverage),
        "isolated": setting.isolated,
        "entryPrice": entry_text(position.entry),
        "breakEvenPrice": entry_text(position.break_even),
        "maxNotional": plain(market.symbol.max_notional(setting.leverage)),
        "bidNotional": plain(exposure.bids) if exposure else "0",
        "askNotional": plain(exposure.asks) if exposure else "0",
        "updateTime": position.updated,
    }


def _permissions(account: Account) -> Json:
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": account.multi_assets,
        "tradeGroupId": -1,
    }


def _symbol_config(account: Account, market: Market) -> Json:
    setting = account.setting(market.symbol)
    return {
        "symbol": market.symbol.name,
        "marginType": "ISOLATED" if setting.isolated else "CROSSED",
        "isAutoAddMargin": False,
        "leverage": setting.leverage,
        "maxNotionalValue": plain(market.symbol.max_notional(setting.leverage)),
    }


def _brackets(market: Market) -> Json:
    return {
        "symbol": market.symbol.name,
        "notionalCoef": 1.0,
        "brackets": [
            {
                "bracket": bracket.number,
                "initialLeverage": bracket.leverage,
                "notionalCap": int(bracket.cap),
                "notionalFloor": int(bracket.floor),
                "maintMarginRatio": float(bracket.maint_ratio),
                "cum": float(bracket.cum),
            }
            for bracket in market.symbol.brackets
        ],
    }


ROUTES: RouteTable = {
    ("GET", "/fapi/v2/positionRisk"): Route(handler=positions_v2, weight=5),
    ("GET", "/fapi/v3/positionRisk"): Route(handler=positions_v3, weight=5),
    ("GET", "/fapi/v2/account"): Route(handler=account_v2, weight=5),
    ("GET", "/fapi/v3/account"): Route(handler=account_v3, weight=5),
    ("GET", "/fapi/v2/balance"): Route(handler=balance, weight=5),
    ("GET", "/fapi/v3/balance"): Route(handler=balance, weight=5),
    ("GET", "/fapi/v1/accountConfig"): Route(handler=account_config, weight=5),
    ("GET", "/fapi/v1/symbolConfig"): Route(handler=symbol_config, weight=5),
    ("GET", "/fapi/v1/leverageBracket"): Route(handler=leverage_brackets),
    ("GET", "/fapi/v1/commissionRate"): Route(handler=commission_rate, weight=20),
    ("GET", "/fapi/v1/income"): Route(handler=income, weight=30),
    ("GET", "/fapi/v1/rateLimit/order"): Route(handler=order_limits),
}
