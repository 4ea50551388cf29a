"""Payloads of the user data stream: orders, fills and conditional orders in events."""

from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.margin import maintenance_margin
from paper_exchange.core.market import Market
from paper_exchange.core.money import cash, plain, price_text
from paper_exchange.core.orders import AlgoOrder, Fill, Order
from paper_exchange.core.symbols import Bracket, Symbol
from paper_exchange.http.render import Json


def order_event(order: Order, execution: str, fill: Fill | None) -> Json:
    symbol, algo = order.symbol, order.algo
    exposure = order.account.exposures.get((symbol.name, order.position_side))
    body: Json = {
        "s": symbol.name,
        "c": order.client_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": symbol.quantity_text(order.quantity),
        "p": plain(order.price),
        "ap": price_text(order.average_price),
        "sp": "0",
        "x": execution,
        "X": order.status,
        "i": order.order_id,
        "l": symbol.quantity_text(fill.quantity) if fill else "0",
        "z": symbol.quantity_text(order.executed) if order.executed else "0",
        "L": plain(fill.price) if fill else "0",
        "n": plain(fill.commission) if fill else "0",
        "N": fill.commission_asset if fill else order.account.margin_of(symbol),
        "T": order.updated,
        "t": fill.trade_id if fill else 0,
        "b": plain(exposure.bids) if exposure else "0",
        "a": plain(exposure.asks) if exposure else "0",
        "m": bool(fill and fill.maker),
        "R": order.reduce_only,
        "wt": algo.ticket.working_type if algo else "CONTRACT_PRICE",
        "ot": order.type,
        "ps": order.position_side,
        "cp": order.close_position,
        "rp": plain(fill.realized) if fill else "0",
        "pP": bool(algo and algo.ticket.price_protect),
        "si": algo.algo_id if algo else 0,
        "ss": -1 if algo else 0,
        "V": order.stp,
        "pm": order.price_match,
        "gtd": order.good_till,
        "er": str(order.expiry_reason),
    }
    if algo:
        body["st"] = "ALGO_CONDITION"
    if execution == "AMENDMENT" and order.modify_id is not None:
        body["M"] = order.modify_id
    return {"e": "ORDER_TRADE_UPDATE", "T": order.updated, "o": body}


def margin_row(account: Account, position: Position, market: Market) -> Json:
    return {
        "s": position.symbol.name,
        "ps": position.side,
        "pa": position.symbol.quantity_text(position.amount),
        "mt": "ISOLATED" if account.setting(position.symbol).isolated else "CROSSED",
        "iw": plain(position.isolated_wallet),
        "mp": plain(market.mark),
        "up": cash(position.unrealized(market.mark)),
        "mm": cash(maintenance_margin(position.symbol, abs(position.amount * market.mark))),
    }


def contract_event(symbol: Symbol, now: int, *, with_brackets: bool) -> Json:
    """News of a contract: its type, times and status, and its brackets when they are new."""
    event: Json = {"e": "contractInfo", "E": now, "s": symbol.name, "ps": symbol.pair, "ct": symbol.contract_type}
    event |= {"dt": symbol.delivery_ms, "ot": symbol.onboard_ms, "cs": symbol.status}
    if with_brackets:
        event["bks"] = [_bracket(symbol, bracket) for bracket in symbol.brackets]
    return event | {"st": 1}


def _bracket(symbol: Symbol, bracket: Bracket) -> Json:
    above = [other.leverage for other in symbol.brackets if other.leverage < bracket.leverage]
    return {
        "bs": bracket.number,
        "bnf": int(bracket.floor),
        "bnc": int(bracket.cap),
        "mmr": float(bracket.maint_ratio),
        "cf": float(bracket.cum),
        "mi": max(above, default=0) + 1,
        "ma": bracket.leverage,
    }


def forced_event(order: Order, now: int) -> Json:
    quantity = order.symbol.quantity_text(order.quantity)
    body: Json = {"s": order.symbol.name, "S": order.side, "o": "LIMIT", "f": "IOC", "q": quantity}
    body |= {"p": plain(order.price), "ap": price_text(order.average_price), "X": order.status}
    body |= {"l": quantity, "z": quantity, "T": order.updated, "st": 1, "ps": order.symbol.pair}
    return {"e": "forceOrder", "E": now, "o": body}


def trade_lite(fill: Fill) -> Json:
    order = fill.order
    return {
        "e": "TRADE_LITE",
        "T": fill.time,
        "s": order.symbol.name,
        "q": order.symbol.quantity_text(order.quantity),
        "p": plain(order.price),
        "m": fill.maker,
        "c": order.client_id,
        "S": order.side,
        "L": plain(fill.price),
        "l": order.symbol.quantity_text(fill.quantity),
        "t": fill.trade_id,
        "i": order.order_id,
    }


def algo_event(algo: AlgoOrder) -> Json:
    ticket, order = algo.ticket, algo.order
    body: Json = {
        "caid": algo.client_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": ticket.type,
        "s": algo.symbol.name,
        "S": ticket.side,
        "ps": algo.position_side,
        "f": ticket.time_in_force,
        "q": algo.symbol.quantity_text(ticket.quantity),
        "X": algo.status,
        "ai": "",
        "tp": plain(ticket.trigger_price),
        "p": plain(ticket.price),
        "V": ticket.stp,
        "wt": ticket.working_type,
        "pm": ticket.price_match,
        "cp": ticket.close_position,
        "pP": ticket.price_protect,
        "R": algo.reduce_only,
        "tt": algo.triggered_at,
        "gtd": ticket.good_till,
    }
    if order is not None:
        finished = algo.status == "FINISHED"
        body |= {
            "ai": str(order.order_id),
            "ap": price_text(order.average_price) if finished else "0",
            "aq": algo.symbol.quantity_text(order.executed) if finished else "0",
            "act": order.type,
        }
    if algo.reject_reason:
        body["rm"] = algo.reject_reason
    if ticket.callback_rate is not None:
        body |= {"cr": plain(ticket.callback_rate), "ia": algo.activated}
    return {"e": "ALGO_UPDATE", "T": algo.updated, "o": body}
