"""The assets of a futures wallet: each is margin of its own contracts, and in multi-assets mode of all of them.

BNB moreover pays fees.
"""

from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import Market
from paper_exchange.core.money import CENT8, USDT, ZERO, to_cash
from paper_exchange.core.state import State

BNB: Final = "BNB"
# Stablecoins count as one dollar.
DOLLARS: Final = frozenset({USDT, "USDC"})
# Assets that a futures wallet can hold.
ASSETS: Final = (USDT, "USDC", "BTC", BNB, "ETH")
# What a fee paid in BNB costs of the same fee in USDT.
DISCOUNT: Final = Decimal("0.9")
# Share by which a coin counts less as margin than it is worth, and by which it is sold below that when debts are paid.
BUFFER: Final = Decimal("0.05")


def index_price(markets: dict[str, Market], asset: str) -> Decimal:
    """Price of an asset in USD; one USDT and one USDC are one dollar."""
    return Decimal(1) if asset in DOLLARS else markets[f"{asset}USDT"].mark


def buffer(asset: str) -> Decimal:
    """Share by which an asset counts less than it is worth."""
    return ZERO if asset in DOLLARS else BUFFER


def fee(state: State, account: Account, amount: Decimal, asset: str = USDT) -> tuple[Decimal, str]:
    """Return amount and asset of a fee that is due in a margin asset.

    It is BNB at a discount when the account wants that and has enough of it.
    """
    if amount and account.fee_burn and account.coins.get(BNB):
        dollars = amount * index_price(state.markets, asset)
        in_bnb = to_cash(dollars * DISCOUNT / index_price(state.markets, BNB))
        if in_bnb <= account.coins[BNB]:
            return in_bnb, BNB
    return to_cash(amount), asset


def worth(account: Account, markets: dict[str, Market]) -> Decimal:
    """Value of the other assets in USD, in multi-assets mode; elsewhere they do not count."""
    if not account.multi_assets:
        return ZERO
    return to_cash(sum((amount * index_price(markets, asset) for asset, amount in account.coins.items()), ZERO))


def collateral(account: Account, markets: dict[str, Market]) -> Decimal:
    """Return what the other assets are good for as margin."""
    if not account.multi_assets:
        return ZERO
    counted = (amount * index_price(markets, name) * (1 - buffer(name)) for name, amount in account.coins.items())
    return to_cash(sum(counted, ZERO))


def exchange_for_debt(state: State, account: Account) -> None:
    """Sell as much of the other assets as a negative cross wallet needs, in multi-assets mode."""
    for asset in list(account.coins) if account.multi_assets else ():
        debt, price = -account.cross_wallet, index_price(state.markets, asset) * (1 - buffer(asset))
        if debt <= 0:
            return
        # Up to the next unit, so that nothing of the debt stays.
        sold = min(max(account.cross(asset), ZERO), (debt / price).quantize(CENT8) + CENT8)
        if sold:
            state.book_income(account, "AUTO_EXCHANGE", -sold, asset=asset)
            state.book_income(account, "AUTO_EXCHANGE", to_cash(sold * price))


def transfer(state: State, account: Account, asset: str, amount: Decimal) -> None:
    """Bring money into the futures wallet, or take it out (negative)."""
    state.book_income(account, "TRANSFER", amount, asset=asset)
    reason = "DEPOSIT" if amount > 0 else "WITHDRAW"
    state.listener.account_changed(account, reason, [], transferred=(asset, amount))
