"""The margin assets of a futures wallet: each for its own contracts, or in multi-assets for all.

BNB moreover pays fees.
"""

from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import Market
from paper_exchange.core.money import CENT8, CREDITS, DOLLARS, USDT, ZERO, to_cash
from paper_exchange.core.state import State

BNB: Final = "BNB"
# What a fee paid in BNB costs of the same fee in USDT.
DISCOUNT: Final = Decimal("0.9")
# Share by which an asset counts less as margin than it is worth, and is sold below that when debts are paid.
BUFFERS: Final = {
    USDT: ZERO,
    "USDC": Decimal("0.0005"),
    "BTC": Decimal("0.05"),
    "ETH": Decimal("0.05"),
    BNB: Decimal("0.05"),
    CREDITS: ZERO,
}
# Assets that a futures wallet can hold, and those of them that can lie beside the wallet's own.
ASSETS: Final = tuple(BUFFERS)
COINS: Final = tuple(asset for asset in ASSETS if asset not in {USDT, CREDITS})


def index_price(markets: dict[str, Market], asset: str) -> Decimal:
    """Price of an asset in USD. USDT, USDC and credits are one dollar each."""
    return Decimal(1) if asset in DOLLARS else markets[f"{asset}USDT"].mark


def counted(markets: dict[str, Market], asset: str, amount: Decimal) -> Decimal:
    """Dollars that an amount counts as margin: its worth less the buffer, a debt in full."""
    worth = amount * index_price(markets, asset)
    return worth * (1 - BUFFERS[asset]) if amount > 0 else worth


def fee(state: State, account: Account, amount: Decimal, asset: str) -> tuple[Decimal, str]:
    """Return amount and asset of a fee that is due in a margin asset.

    It is BNB at a discount when the account wants that and has enough of it, in credits mode never.
    """
    if amount and account.fee_burn and account.coins.get(BNB) and not account.credits:
        dollars = amount * index_price(state.markets, asset)
        in_bnb = to_cash(dollars * DISCOUNT / index_price(state.markets, BNB))
        if in_bnb <= account.coins[BNB]:
            return in_bnb, BNB
    return to_cash(amount), asset


def exchange_for_debt(state: State, account: Account) -> None:
    """Sell as much of the other assets as a negative cross wallet needs, in multi-assets mode."""
    for asset in list(account.coins) if account.multi_assets else ():
        debt, price = -account.cross_wallet, index_price(state.markets, asset) * (1 - BUFFERS[asset])
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
