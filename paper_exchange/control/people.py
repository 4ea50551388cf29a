"""Control calls on accounts: what their owner does by hand, and what the exchange does to them."""

from decimal import Decimal
from typing import Final, get_args

from paper_exchange.config import AccountConfig
from paper_exchange.control import views
from paper_exchange.control.wish import Action, Actions, Body, ControlError, Levers, Wish
from paper_exchange.core import coins, settings
from paper_exchange.core.accounts import Account
from paper_exchange.core.margin import account_figures
from paper_exchange.core.market import Market
from paper_exchange.core.money import to_cash
from paper_exchange.core.orders import AlgoOrder, Order, PositionSide, Side, Ticket
from paper_exchange.core.portions import RESTS, PortionRule
from paper_exchange.http.keys import check_key
from paper_exchange.http.render import withdrawable

# How the exchange marks orders that were placed on its web page.
_WEB: Final = "web_"
_WEB_ID_LENGTH: Final = 18
_FORCED: Final = frozenset({"LIQUIDATION", "ADL"})
_ENDS: Final = frozenset({"CANCELED", "EXPIRED"})


def add_account(levers: Levers, wish: Wish) -> object:
    key = wish.text("key")
    if key in levers.exchange.state.accounts:
        raise ControlError("an account with this key exists")
    balance = wish.decimal("balance") if "balance" in wish.body else Decimal(10_000)
    public_key = wish.optional_text("public_key") or ""
    if public_key:
        check_key(public_key)
    secret = "" if public_key else wish.text("secret")
    account = AccountConfig(
        key=key,
        secret=secret,
        balance=balance,
        public_key=public_key,
        coins=_coins(wish),
        credits=wish.flag("credits"),
    )
    levers.exchange.state.add_account(account)
    return {"key": key, "balance": str(balance)}


def _coins(wish: Wish) -> tuple[tuple[str, Decimal], ...]:
    """Read balances in other assets than USDT: {"USDC": "5000"}."""
    given = wish.body.get("coins", {})
    if not isinstance(given, dict) or not set(given) <= set(coins.COINS):
        raise ControlError(f"coins must be amounts of {', '.join(coins.COINS)}")
    amounts = [(asset, to_cash(Wish(given, {}).decimal(asset))) for asset in given]
    if any(amount < 0 for _, amount in amounts):
        raise ControlError("coins must not be negative")
    return tuple(amounts)


def revoke_key(levers: Levers, wish: Wish) -> object:
    """Take an API key back (-2015 for every call that needs it), or give it again."""
    account = levers.owner(wish)
    account.revoked = wish.flag("revoked", default=True)
    return {"key": account.key, "revoked": account.revoked}


def change_settings(levers: Levers, wish: Wish) -> object:
    """Change an account's settings as its owner does it elsewhere, under the same guards."""
    account, state = levers.owner(wish), levers.exchange.state
    if "dual_side" in wish.body:
        settings.change_position_mode(account, dual=wish.flag("dual_side"))
    if "credits" in wish.body:
        _change_credits(account, is_on=wish.flag("credits"))
    if "algo_limit" in wish.body:
        account.algo_limit = _limit(wish)
    if "multi_assets" in wish.body:
        settings.change_assets_mode(state, account, multi=wish.flag("multi_assets"))
    if "isolated" in wish.body:
        settings.change_margin_type(state, account, levers.market(wish), isolated=wish.flag("isolated"))
    if "leverage" in wish.body:
        settings.change_leverage(state, account, levers.market(wish), wish.integer("leverage"))
    return {
        "key": account.key,
        "dual_side": account.dual_side,
        "multi_assets": account.multi_assets,
        "credits": account.credits,
        "algo_limit": account.algo_limit,
    }


def _limit(wish: Wish) -> int | None:
    """Return a number of orders, 0 for none; None takes the limit back."""
    limit = wish.optional_integer("algo_limit")
    if limit is not None and limit < 0:
        raise ControlError("algo_limit must not be negative, or null for the exchange's own")
    return limit


def _change_credits(account: Account, *, is_on: bool) -> None:
    """Let the wallet be in credits, or in USDT again; what was booked in one asset does not become another."""
    if account.credits != is_on and (account.income or account.has_open_orders()):
        raise ControlError(
            "credits mode can change only before an account's first booking and order; reset begins anew"
        )
    account.credits = is_on


def transfer(levers: Levers, wish: Wish) -> object:
    """Bring an asset into an account's futures wallet, or take some out (negative)."""
    account, amount = levers.owner(wish), to_cash(wish.decimal("amount"))
    asset = str(wish.body.get("asset", account.asset))
    if asset not in coins.ASSETS or not amount:
        raise ControlError(f"asset must be one of {', '.join(coins.ASSETS)}, amount not zero")
    figures = account_figures(account, levers.exchange.state.markets, asset)
    if -amount > withdrawable(figures):
        raise ControlError("the account cannot spare as much")
    coins.transfer(levers.exchange.state, account, asset, amount)
    return views.summary(account, levers.exchange.state.markets)


def set_position(levers: Levers, wish: Wish) -> object:
    """Bring a position to an amount by a MARKET order that somebody else places on the account."""
    account, market, amount = levers.owner(wish), levers.market(wish), wish.decimal("amount")
    side = _position_side(account, wish)
    missing = amount - account.amount(market.symbol, side)
    order = _place(levers, account, market, wish, side, missing) if missing else None
    return {
        "symbol": market.symbol.name,
        "positionSide": side,
        "amount": str(account.amount(market.symbol, side)),
        "order": order and views.order(order),
    }


def place_order(levers: Levers, wish: Wish) -> object:
    """Place an order as somebody else on the same account: LIMIT with a price, MARKET without."""
    account, market, side = levers.owner(wish), levers.market(wish), wish.text("side")
    if side not in get_args(Side):
        raise ControlError("side must be BUY or SELL")
    quantity = wish.decimal("quantity")
    signed = quantity if side == "BUY" else -quantity
    return views.order(_place(levers, account, market, wish, _position_side(account, wish), signed))


def fill_order(levers: Levers, wish: Wish) -> object:
    """Fill an open order now, by a quantity or by a fraction of its whole quantity, so many times in a row."""
    order, times = _open_order(levers, wish), wish.times()
    step = order.symbol.step
    quantity = wish.decimal("quantity") if "quantity" in wish.body else order.quantity * wish.decimal("fraction")
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


def end_order(levers: Levers, wish: Wish) -> object:
    """End an open order, ordinary or conditional: CANCELED as by its owner, EXPIRED as by the exchange."""
    status = wish.body.get("status", "CANCELED")
    if status not in _ENDS:
        raise ControlError(f"status must be one of {', '.join(sorted(_ENDS))}")
    algo = _open_algo(levers, wish)
    if algo is not None:
        levers.exchange.algos.close(algo, str(status))
        return views.algo(algo)
    order = _open_order(levers, wish)
    levers.exchange.matching.close(order, str(status))
    return views.order(order)


def add_portion_rule(levers: Levers, wish: Wish) -> object:
    """Let coming orders execute only a share of their quantity, in several parts."""
    fraction, parts = wish.optional_decimal("fraction"), wish.optional_integer("parts")
    rest, every = str(wish.body.get("rest", "NORMAL")), wish.optional_integer("every_ms") or 0
    times = wish.optional_integer("count") if "count" in wish.body else 1
    if rest not in RESTS:
        raise ControlError(f"rest must be one of {', '.join(sorted(RESTS))}")
    fraction, parts = Decimal(1) if fraction is None else fraction, 1 if parts is None else parts
    if not 0 <= fraction <= 1 or not 1 <= parts <= 100 or min(every, times or 1) < 0 or times == 0:
        raise ControlError("fraction is 0 to 1, parts 1 to 100, every_ms and count are not negative")
    portions = levers.exchange.state.portions
    rule = PortionRule(
        id=str(wish.body.get("id") or f"portion-{len(portions.rules) + 1}"),
        symbol=wish.optional_text("symbol"),
        key=wish.optional_text("key"),
        client_id=wish.optional_text("order"),
        fraction=fraction,
        parts=parts,
        every_ms=every,
        rest=rest,
        left=times,
    )
    portions.add(rule)
    return _rule_view(rule)


def list_portion_rules(levers: Levers, _: Wish) -> object:
    return {"rules": [_rule_view(rule) for rule in levers.exchange.state.portions.rules]}


def remove_portion_rules(levers: Levers, _: Wish) -> object:
    return {"removed": levers.exchange.state.portions.remove()}


def force_close(levers: Levers, wish: Wish) -> object:
    """Close a position by liquidation, which first ends the symbol's orders, or by automatic deleveraging, now."""
    account, market, kind = levers.owner(wish), levers.market(wish), wish.body.get("kind", "LIQUIDATION")
    if kind not in _FORCED:
        raise ControlError("kind must be LIQUIDATION or ADL")
    positions = [p for p in account.held() if p.symbol is market.symbol]
    orders = [levers.exchange.liquidation.force(position, account, str(kind)) for position in positions]
    return {"orders": [views.order(order) for order in orders]}


def _place(
    levers: Levers, account: Account, market: Market, wish: Wish, position_side: PositionSide, signed: Decimal
) -> Order:
    price = wish.optional_decimal("price")
    ticket = Ticket(
        symbol=market.symbol.name,
        side="BUY" if signed > 0 else "SELL",
        type="MARKET" if price is None else "LIMIT",
        quantity=abs(signed),
        price=price or Decimal(0),
        position_side=position_side,
        reduce_only=True if wish.flag("reduce_only") else None,
        client_id=wish.optional_text("client_id") or _WEB + levers.exchange.state.texts.draw(_WEB_ID_LENGTH),
    )
    return levers.exchange.orders.place(account, ticket)


def _position_side(account: Account, wish: Wish) -> PositionSide:
    side = wish.body.get("position_side", "BOTH")
    for known in account.sides():
        if known == side:
            return known
    raise ControlError(f"position_side must be one of {', '.join(account.sides())}")


def _open_order(levers: Levers, wish: Wish) -> Order:
    """Return the open order that a body names by its order id or client id."""
    name = str(wish.body.get("order", ""))
    for book in levers.owner(wish).open_orders.values():
        for order in book.values():
            if name in {str(order.order_id), order.client_id}:
                return order
    raise ControlError("no open order with this id")


def _open_algo(levers: Levers, wish: Wish) -> AlgoOrder | None:
    name = str(wish.body.get("order", ""))
    algos = levers.owner(wish).open_algos.values()
    return next((algo for algo in algos if name in {str(algo.algo_id), algo.client_id}), None)


def _rule_view(rule: PortionRule) -> Body:
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
    ("POST", "/paper/portions"): Action(run=add_portion_rule),
    ("GET", "/paper/portions"): Action(run=list_portion_rules, changes=False),
    ("DELETE", "/paper/portions"): Action(run=remove_portion_rules),
    ("POST", "/paper/close"): Action(run=force_close),
}
