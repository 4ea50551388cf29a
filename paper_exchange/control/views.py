"""Rows of the ledger and the summary of an account: every amount an exact text."""

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO, cash, plain
from paper_exchange.core.orders import AlgoOrder, Fill, Order
from paper_exchange.core.state import BalanceChange
from paper_exchange.http import render
from paper_exchange.http.render import Json


def order(row: Order) -> Json:
    return {
        "key": row.account.key,
        **render.listed_order(row),
        "algoId": row.algo.algo_id if row.algo else None,
        "expiryReason": row.expiry_reason,
    }


def algo(row: AlgoOrder) -> Json:
    return {"key": row.account.key, **render.queried_algo(row), "rejectReason": row.reject_reason}


def fill(row: Fill) -> Json:
    return {"key": row.order.account.key, "clientOrderId": row.order.client_id, **render.trade(row)}


def balance(row: BalanceChange) -> Json:
    return {
        "key": row.key,
        "type": row.type,
        "asset": row.asset,
        "amount": cash(row.amount),
        "balance": cash(row.balance),
        "time": row.time,
    }


def summary(account: Account, markets: dict[str, Market]) -> Json:
    """Wallet and the sums it is made of, in USDT or in credits, and the same of each asset.

    wallet = deposits + realized_pnl - commission + funding + other
    """
    return {
        "key": account.key,
        "asset": account.asset,
        **sums(account, account.asset),
        "coins": {asset: cash(amount) for asset, amount in account.coins.items()},
        "assets": {asset: sums(account, asset) for asset in account.assets()},
        "open_orders": sum(len(book) for book in account.open_orders.values()),
        "open_algo_orders": len(account.open_algos),
        "positions": [
            {
                "symbol": position.symbol.name,
                "positionSide": position.side,
                "marginAsset": account.margin_of(position.symbol),
                "positionAmt": plain(position.amount),
                "entryPrice": plain(position.entry),
                "markPrice": plain(markets[position.symbol.name].mark),
            }
            for position in account.held()
        ],
    }


def sums(account: Account, asset: str) -> Json:
    """Return what an asset's balance is made of."""
    booked = {kind: amount for (name, kind), amount in account.booked.items() if name == asset}
    wallet = account.balance(asset)
    deposits = wallet - sum(booked.values(), ZERO)
    realized, commission = booked.pop("REALIZED_PNL", ZERO), -booked.pop("COMMISSION", ZERO)
    funding = booked.pop("FUNDING_FEE", ZERO)
    return {
        "deposits": cash(deposits),
        "wallet": cash(wallet),
        "realized_pnl": cash(realized),
        "commission": cash(commission),
        "funding": cash(funding),
        "other": cash(sum(booked.values(), ZERO)),
    }
