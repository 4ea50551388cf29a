"""Other assets in a futures wallet: BNB pays fees, and in multi-assets mode all of them stand as margin."""

from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import CREDITS, Account
from paper_exchange.core.market import Market
from paper_exchange.core.money import CENT8, ZERO, to_cash
from paper_exchange.core.state import State

USDT: Final = "USDT"
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
_DOLLARS: Final = frozenset({USDT, "USDC", CREDITS})


def index_price(markets: dict[str, Market], asset: str) -> Decimal:
    """Price of an asset in USD; USDT, USDC and credits are one dollar each."""
    return Decimal(1) if asset in _DOLLARS else markets[f"{asset}USDT"].mark


def fee(state: State, account: Account, fee_usdt: Decimal) -> tuple[Decimal, str]:
    """Return amount and asset of a fee: BNB at a discount when the account wants that and has enough of it.

    In credits mode fees are always in credits.
    """
    if fee_usdt and account.fee_burn and account.coins.get(BNB) and not account.credits:
        amount = to_cash(fee_usdt * DISCOUNT / index_price(state.markets, BNB))
        if amount <= account.coins[BNB]:
            return amount, BNB
    return to_cash(fee_usdt), account.asset


def worth(account: Account, markets: dict[str, Market]) -> Decimal:
    """Value of the other assets in USD, in multi-assets mode; elsewhere they do not count."""
    if not account.multi_assets:
        return ZERO
    return to_cash(sum((amount * index_price(markets, asset) for asset, amount in account.coins.items()), ZERO))


def collateral(account: Account, markets: dict[str, Market]) -> Decimal:
    """Return what the other assets are good for as margin: each one's worth less its buffer, a debt in full."""
    if not account.multi_assets:
        return ZERO
    return to_cash(sum((_margin_of(markets, asset, amount) for asset, amount in account.coins.items()), ZERO))


def _margin_of(markets: dict[str, Market], asset: str, amount: Decimal) -> Decimal:
    worth_usd = amount * index_price(markets, asset)
    return worth_usd * (1 - BUFFERS[asset]) if amount > 0 else worth_usd


def exchange_for_debt(state: State, account: Account) -> None:
    """Sell as much of the other assets as a negative cross wallet needs, in multi-assets mode."""
    for asset in list(account.coins) if account.multi_assets else ():
        debt, price = -account.cross_wallet, index_price(state.markets, asset) * (1 - BUFFERS[asset])
        if debt <= 0:
            return
        # Up to the next unit, so that nothing of the debt stays.
        sold = min(account.coins[asset], (debt / price).quantize(CENT8) + CENT8)
        if sold > 0:
            state.book_income(account, "AUTO_EXCHANGE", -sold, asset=asset)
            state.book_income(account, "AUTO_EXCHANGE", to_cash(sold * price))


def transfer(state: State, account: Account, asset: str, amount: Decimal) -> None:
    """Bring money into the futures wallet, or take it out (negative)."""
    state.book_income(account, "TRANSFER", amount, asset=asset)
    reason = "DEPOSIT" if amount > 0 else "WITHDRAW"
    state.listener.account_changed(account, reason, [], transferred=(asset, amount))
