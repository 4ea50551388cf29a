"""Control calls on accounts: what their owner does by hand, and what the exchange does to them."""

from decimal import Decimal
from typing import Final, get_args

from paper_exchange.config import AccountConfig
from paper_exchange.control import views
from paper_exchange.control.request import Action, Actions, Body, ControlError, ControlRequest, Levers
from paper_exchange.core import margin_assets, settings
from paper_exchange.core.accounts import Account
from paper_exchange.core.fill_rules import RESTS, FillRule
from paper_exchange.core.margin import account_figures
from paper_exchange.core.market import Market
from paper_exchange.core.money import to_cash
from paper_exchange.core.orders import AlgoOrder, Order, PositionSide, Side, Ticket
from paper_exchange.http.keys import check_key
from paper_exchange.http.render import withdrawable

# How the exchange marks orders that were placed on its web page.
_WEB: Final = "web_"
_WEB_ID_LENGTH: Final = 18
_FORCED: Final = frozenset({"LIQUIDATION", "ADL"})
_ENDS: Final = frozenset({"CANCELED", "EXPIRED"})


def add_account(levers: Levers, request: ControlRequest) -> object:
    key = request.text("key")
    if key in levers.exchange.state.accounts:
        raise ControlError("an account with this key exists")
    balance = request.decimal("balance") if "balance" in request.body else Decimal(10_000)
    public_key = request.optional_text("public_key") or ""
    if public_key:
        check_key(public_key)
    secret = "" if public_key else request.text("secret")
    account = AccountConfig(
        key=key,
        secret=secret,
        balance=balance,
        public_key=public_key,
        coins=_coins(request),
        credits=request.flag("credits"),
    )
    levers.exchange.state.add_account(account)
    return {"key": key, "balance": str(balance)}


def _coins(request: ControlRequest) -> tuple[tuple[str, Decimal], ...]:
    """Read balances in other assets than USDT: {"USDC": "5000"}."""
    given = request.body.get("coins", {})
    if not isinstance(given, dict) or not set(given) <= set(margin_assets.COINS):
        raise ControlError(f"coins must be amounts of {', '.join(margin_assets.COINS)}")
    amounts = [(asset, to_cash(ControlRequest(given, {}).decimal(asset))) for asset in given]
    if any(amount < 0 for _, amount in amounts):
        raise ControlError("coins must not be negative")
    return tuple(amounts)


def revoke_key(levers: Levers, request: ControlRequest) -> object:
    """Take an API key back (-2015 for every call that needs it), or give it again."""
    account = levers.owner(request)
    account.revoked = request.flag("revoked", default=True)
    return {"key": account.key, "revoked": account.revoked}


def change_settings(levers: Levers, request: ControlRequest) -> object:
    """Change an account's settings as its owner does it elsewhere, under the same guards."""
    account, state = levers.owner(request), levers.exchange.state
    if "dual_side" in request.body:
        settings.change_position_mode(account, dual=request.flag("dual_side"))
    if "credits" in request.body:
        _change_credits(account, is_on=request.flag("credits"))
    if "algo_limit" in request.body:
        account.algo_limit = _limit(request)
    if "multi_assets" in request.body:
        settings.change_assets_mode(state, account, multi=request.flag("multi_assets"))
    if "isolated" in request.body:
        settings.change_margin_type(state, account, levers.market(request), isolated=request.flag("isolated"))
    if "leverage" in request.body:
        settings.change_leverage(state, account, levers.market(request), request.integer("leverage"))
    return {
        "key": account.key,
        "dual_side": account.dual_side,
        "multi_assets": account.multi_assets,
        "credits": account.credits,
        "algo_limit": account.algo_limit,
    }


def _limit(request: ControlRequest) -> int | None:
    """Return a number of orders, 0 for none. None takes the limit back."""
    limit = request.optional_integer("algo_limit")
    if limit is not None and limit < 0:
        raise ControlError("algo_limit must not be negative, or null for the exchange's own")
    return limit


def _change_credits(account: Account, *, is_on: bool) -> None:
    """Let the wallet be in credits, or in USDT again.

    What was booked in one asset does not become another.
    """
    if account.credits != is_on and (account.income or account.has_open_orders()):
        raise ControlError(
            "credits mode can change only before an account's first booking and order; reset begins anew"
        )
    account.credits = is_on


def transfer(levers: Levers, request: ControlRequest) -> object:
    """Bring an asset into an account's futures wallet, or take some out (negative)."""
    account, amount = levers.owner(request), to_cash(request.decimal("amount"))
    asset = str(request.body.get("asset", account.asset))
    if asset not in margin_assets.ASSETS or not amount:
        raise ControlError(f"asset must be one of {', '.join(margin_assets.ASSETS)}, amount not zero")
    figures = account_figures(account, levers.exchange.state.markets, asset)
    if -amount > withdrawable(figures):
        raise ControlError("the account cannot spare as much")
    margin_assets.transfer(levers.exchange.state, account, asset, amount)
    return views.summary(account, levers.exchange.state.markets)


def set_position(levers: Levers, request: ControlRequest) -> object:
    """Bring a position to an amount by a MARKET order of another client of the account."""
    account, market, amount = levers.owner(request), levers.market(request), request.decimal("amount")
    side = _position_side(account, request)
    missing = amount - account.amount(market.symbol, side)
    order = _place(levers, account, market, request, side, missing) if missing else None
    return {
        "symbol": market.symbol.name,
        "positionSide": side,
        "amount": str(account.amount(market.symbol, side)),
        "order": order and views.order(order),
    }


def place_order(levers: Levers, request: ControlRequest) -> object:
    """Place an order as another client of the same account: LIMIT with a price, MARKET without."""
    account, market, side = levers.owner(request), levers.market(request), request.text("side")
    if side not in get_args(Side):
        raise ControlError("side must be BUY or SELL")
    quantity = request.decimal("quantity")
    signed = quantity if side == "BUY" else -quantity
    return views.order(_place(levers, account, market, request, _position_side(account, request), signed))


def fill_order(levers: Levers, request: ControlRequest) -> object:
    """Fill an open order now, by a quantity or a fraction of its whole quantity, `times` in a row."""
    order, times = _open_order(levers, request), request.times()
    step = order.symbol.step
    quantity = (
        request.decimal("quantity") if "quantity" in request.body else order.quantity * request.decimal("fraction")
    )
    quantity = quantity // step * step
    if quantity <= 0:
        raise ControlError(f"that is less than a step of {step}")
    for _ in range(times):
        if not order.is_open:
            break
        if order.queue_key is None:
            levers.exchange.matching.fill_up_to(order, order.executed + quantity)
        else:
            levers.exchange.matching.fill_resting(order, quantity)
    return views.order(order)


def end_order(levers: Levers, request: ControlRequest) -> object:
    """End an open order, ordinary or conditional: CANCELED as by its owner, EXPIRED as by the exchange."""
    status = request.body.get("status", "CANCELED")
    if status not in _ENDS:
        raise ControlError(f"status must be one of {', '.join(sorted(_ENDS))}")
    algo = _open_algo(levers, request)
    if algo is not None:
        levers.exchange.algos.close(algo, str(status))
        return views.algo(algo)
    order = _open_order(levers, request)
    levers.exchange.matching.close(order, str(status))
    return views.order(order)


def add_fill_rule(levers: Levers, request: ControlRequest) -> object:
    """Let coming orders execute only a share of their quantity, in several parts."""
    fraction, parts = request.optional_decimal("fraction"), request.optional_integer("parts")
    rest, every = str(request.body.get("rest", "NORMAL")), request.optional_integer("every_ms") or 0
    times = request.optional_integer("count") if "count" in request.body else 1
    if rest not in RESTS:
        raise ControlError(f"rest must be one of {', '.join(sorted(RESTS))}")
    fraction, parts = Decimal(1) if fraction is None else fraction, 1 if parts is None else parts
    if not 0 <= fraction <= 1 or not 1 <= parts <= 100 or min(every, times or 1) < 0 or times == 0:
        raise ControlError("fraction is 0 to 1, parts 1 to 100, every_ms and count are not negative")
    rules = levers.exchange.state.fill_rules
    rule = FillRule(
        id=str(request.body.get("id") or f"portion-{len(rules.rules) + 1}"),
        symbol=request.optional_text("symbol"),
        key=request.optional_text("key"),
        client_id=request.optional_text("order"),
        fraction=fraction,
        parts=parts,
        every_ms=every,
        rest=rest,
        left=times,
    )
    rules.add(rule)
    return _rule_view(rule)


def list_fill_rules(levers: Levers, _: ControlRequest) -> object:
    return {"rules": [_rule_view(rule) for rule in levers.exchange.state.fill_rules.rules]}


def remove_fill_rules(levers: Levers, _: ControlRequest) -> object:
    return {"removed": levers.exchange.state.fill_rules.remove()}


def force_close(levers: Levers, request: ControlRequest) -> object:
    """Close a position now, by liquidation, which first ends the symbol's orders, or by ADL."""
    account, market, kind = levers.owner(request), levers.market(request), request.body.get("kind", "LIQUIDATION")
    if kind not in _FORCED:
        raise ControlError("kind must be LIQUIDATION or ADL")
    positions = [p for p in account.held() if p.symbol is market.symbol]
    orders = [levers.exchange.liquidation.force(position, account, str(kind)) for position in positions]
    return {"orders": [views.order(order) for order in orders]}


def _place(
    levers: Levers,
    account: Account,
    market: Market,
    request: ControlRequest,
    position_side: PositionSide,
    signed: Decimal,
) -> Order:
    price = request.optional_decimal("price")
    ticket = Ticket(
        symbol=market.symbol.name,
        side="BUY" if signed > 0 else "SELL",
        type="MARKET" if price is None else "LIMIT",
        quantity=abs(signed),
        price=price or Decimal(0),
        position_side=position_side,
        reduce_only=True if request.flag("reduce_only") else None,
        client_id=request.optional_text("client_id") or _WEB + levers.exchange.state.texts.draw(_WEB_ID_LENGTH),
    )
    return levers.exchange.orders.place(account, ticket)


def _position_side(account: Account, request: ControlRequest) -> PositionSide:
    side = request.body.get("position_side", "BOTH")
    for known in account.sides():
        if known == side:
            return known
    raise ControlError(f"position_side must be one of {', '.join(account.sides())}")


def _open_order(levers: Levers, request: ControlRequest) -> Order:
    """Return the open order that a body names by its order id or client id."""
    name = str(request.body.get("order", ""))
    for book in levers.owner(request).open_orders.values():
        for order in book.values():
            if name in {str(order.order_id), order.client_id}:
                return order
    raise ControlError("no open order with this id")


def _open_algo(levers: Levers, request: ControlRequest) -> AlgoOrder | None:
    name = str(request.body.get("order", ""))
    algos = levers.owner(request).open_algos.values()
    return next((algo for algo in algos if name in {str(algo.algo_id), algo.client_id}), None)


def _rule_view(rule: FillRule) -> Body:
    return {
        "id": rule.id,
        "symbol": rule.symbol,
        "key": rule.key,
        "order": rule.client_id,
        "fraction": str(rule.fraction),
        "parts": rule.parts,
        "every_ms": rule.every_ms,
        "rest": rule.rest,
        "count": rule.left,
        "hits": rule.hits,
    }


ACTIONS: Actions = {
    ("POST", "/paper/accounts"): Action(run=add_account),
    ("POST", "/paper/keys"): Action(run=revoke_key),
    ("POST", "/paper/settings"): Action(run=change_settings),
    ("POST", "/paper/transfer"): Action(run=transfer),
    ("POST", "/paper/position"): Action(run=set_position),
    ("POST", "/paper/orders"): Action(run=place_order),
    ("POST", "/paper/orders/fill"): Action(run=fill_order),
    ("POST", "/paper/orders/end"): Action(run=end_order),
    ("POST", "/paper/portions"): Action(run=add_fill_rule),
    ("GET", "/paper/portions"): Action(run=list_fill_rules, changes=False),
    ("DELETE", "/paper/portions"): Action(run=remove_fill_rules),
    ("POST", "/paper/close"): Action(run=force_close),
}
