"""What moved the account's wallets, and how far it is below its highest point. Pure.

Between two readings a wallet changes by income alone: results, fees, funding, transfers. Whatever the exchange's income
does not explain is a part of its own, so that the parts always add up to the change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from execution.domain.money import ZERO
from execution.domain.quote_index import in_usd

# By asset, in units of the asset.
Amounts = Mapping[str, Decimal]


class WalletPart(StrEnum):
    """Parts of a wallet's change.

    What an operator deposits or withdraws is a transfer, and never a result.
    """

    REALISED = "realised"
    FEES = "fees"
    FUNDING = "funding"
    TRANSFERS = "transfers"
    OTHER = "other"
    UNEXPLAINED = "unexplained"


# By asset and part, in units of the asset.
Parts = Mapping[str, Mapping[WalletPart, Decimal]]


class WalletIncome(StrEnum):
    """The types of income that the exchange documents (GET /fapi/v1/income). Others may come."""

    TRANSFER = "TRANSFER"
    INTERNAL_TRANSFER = "INTERNAL_TRANSFER"
    CROSS_COLLATERAL_TRANSFER = "CROSS_COLLATERAL_TRANSFER"
    STRATEGY_UMFUTURES_TRANSFER = "STRATEGY_UMFUTURES_TRANSFER"
    REALIZED_PNL = "REALIZED_PNL"
    DELIVERED_SETTLEMENT = "DELIVERED_SETTELMENT"
    COMMISSION = "COMMISSION"
    COMMISSION_REBATE = "COMMISSION_REBATE"
    API_REBATE = "API_REBATE"
    REFERRAL_KICKBACK = "REFERRAL_KICKBACK"
    FEE_RETURN = "FEE_RETURN"
    POSITION_LIMIT_INCREASE_FEE = "POSITION_LIMIT_INCREASE_FEE"
    FUNDING_FEE = "FUNDING_FEE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"
    WELCOME_BONUS = "WELCOME_BONUS"
    CONTEST_REWARD = "CONTEST_REWARD"
    BFUSD_REWARD = "BFUSD_REWARD"
    OPTIONS_PREMIUM_FEE = "OPTIONS_PREMIUM_FEE"
    OPTIONS_SETTLE_PROFIT = "OPTIONS_SETTLE_PROFIT"
    AUTO_EXCHANGE = "AUTO_EXCHANGE"
    COIN_SWAP_DEPOSIT = "COIN_SWAP_DEPOSIT"
    COIN_SWAP_WITHDRAW = "COIN_SWAP_WITHDRAW"


PART_OF: Mapping[str, WalletPart] = {
    WalletIncome.TRANSFER: WalletPart.TRANSFERS,
    WalletIncome.INTERNAL_TRANSFER: WalletPart.TRANSFERS,
    WalletIncome.CROSS_COLLATERAL_TRANSFER: WalletPart.TRANSFERS,
    WalletIncome.STRATEGY_UMFUTURES_TRANSFER: WalletPart.TRANSFERS,
    WalletIncome.REALIZED_PNL: WalletPart.REALISED,
    WalletIncome.DELIVERED_SETTLEMENT: WalletPart.REALISED,
    WalletIncome.COMMISSION: WalletPart.FEES,
    WalletIncome.COMMISSION_REBATE: WalletPart.FEES,
    WalletIncome.API_REBATE: WalletPart.FEES,
    WalletIncome.REFERRAL_KICKBACK: WalletPart.FEES,
    WalletIncome.FEE_RETURN: WalletPart.FEES,
    WalletIncome.POSITION_LIMIT_INCREASE_FEE: WalletPart.FEES,
    WalletIncome.FUNDING_FEE: WalletPart.FUNDING,
}


class Resolution(StrEnum):
    """How long a span one point of the equity history stands for."""

    SAMPLE = "sample"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """The length of a span. A sample stands for the moment of its monitor cycle."""
        return SPANS[self]


SPANS = {
    Resolution.SAMPLE: timedelta(microseconds=1),
    Resolution.MINUTE: timedelta(minutes=1),
    Resolution.HOUR: timedelta(hours=1),
    Resolution.DAY: timedelta(days=1),
}


class IncomeScope(StrEnum):
    """What a reading of the account's income covers beside a single kind."""

    ALL = "ALL"


@dataclass(frozen=True, kw_only=True)
class Wallets:
    """What the account holds, each in units of its asset.

    `unrealized`: the result of open positions at the mark.
    """

    balances: Amounts
    unrealized: Amounts


@dataclass(frozen=True, kw_only=True)
class WalletLine:
    """One line of the account's income of any kind, negative when the wallet has paid."""

    kind: str
    symbol: str
    amount: Decimal
    asset: str
    at: datetime
    transaction_id: str


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What the account is worth in USD. Assets without an index price are in `unpriced` and in no sum."""

    wallet_usd: Decimal
    unrealized_usd: Decimal
    unpriced: Sequence[str]


def worth(wallets: Wallets, prices: Amounts) -> Worth:
    """Value the wallets by USD per unit of each asset."""
    held = {*wallets.balances, *wallets.unrealized}
    return Worth(
        wallet_usd=_total(wallets.balances, prices),
        unrealized_usd=_total(wallets.unrealized, prices),
        unpriced=sorted(held - prices.keys()),
    )


def part_of(kind: str) -> WalletPart:
    """Return the part of a wallet's change that an income type belongs to."""
    return PART_OF.get(kind, WalletPart.OTHER)


def explain_change(before: Amounts, after: Amounts, lines: Iterable[tuple[str, str, Decimal]]) -> Parts:
    """Return the parts that add up to each asset's change, without those that are zero.

    Args:
        before: the wallets at the reading before.
        after: the wallets now.
        lines: asset, income type and amount of what was booked in between.

    """
    known: dict[str, dict[WalletPart, Decimal]] = {}
    for asset, kind, amount in lines:
        parts = known.setdefault(asset, {})
        parts[part_of(kind)] = parts.get(part_of(kind), ZERO) + amount
    return completed(before, after, known)


def completed(before: Amounts, after: Amounts, known: Parts) -> Parts:
    """Return known parts with what they leave unexplained of each asset's change."""
    found: dict[str, dict[WalletPart, Decimal]] = {}
    for asset in sorted({*before, *after, *known}):
        parts: dict[WalletPart, Decimal] = dict(known.get(asset, {}))
        parts.pop(WalletPart.UNEXPLAINED, None)
        change = after.get(asset, ZERO) - before.get(asset, ZERO)
        parts[WalletPart.UNEXPLAINED] = change - sum(parts.values(), ZERO)
        if kept := {part: amount for part, amount in parts.items() if amount}:
            found[asset] = kept
    return found


def added(several: Iterable[Parts]) -> Parts:
    """Return the sums of parts of successive spans."""
    sums: dict[str, dict[WalletPart, Decimal]] = {}
    for parts in several:
        for asset, amounts in parts.items():
            of_asset = sums.setdefault(asset, {})
            for part, amount in amounts.items():
                of_asset[part] = of_asset.get(part, ZERO) + amount
    return sums


def parts_in_usd(parts: Parts, prices: Amounts) -> dict[WalletPart, Decimal]:
    """Return each part in USD, summed over the assets that have a price."""
    sums = dict.fromkeys(WalletPart, ZERO)
    for asset, amounts in parts.items():
        for part, amount in amounts.items():
            sums[part] += in_usd(amount, prices.get(asset)) or ZERO
    return sums


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The highest point so far of equity less transfers, in USD. `transferred`: all transfers so far."""

    result_usd: Decimal | None = None
    transferred_usd: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class Drawdown:
    """How far the account is below its highest point, in USD and in percent of that point.

    Deposits and withdrawals count neither as a rise nor as a fall. Percent is None where there was nothing to lose.
    """

    usd: Decimal
    percent: Decimal | None


def drawdowns(
    points: Iterable[tuple[Decimal, Decimal]], *, begin: Peak | None = None
) -> Iterator[tuple[Drawdown, Peak]]:
    """Yield the drawdown at each point, and the peak with which a later run goes on.

    Args:
        points: equity in USD, and what was transferred in USD since the point before.
        begin: the peak of a run before this one.

    """
    peak = begin or Peak()
    for equity, transferred in points:
        total = peak.transferred_usd + transferred
        result = equity - total
        highest = result if peak.result_usd is None else max(peak.result_usd, result)
        fallen = highest - result
        base = equity + fallen
        peak = Peak(result_usd=highest, transferred_usd=total)
        yield Drawdown(usd=fallen, percent=fallen / base * 100 if base > 0 else None), peak


def _total(amounts: Amounts, prices: Amounts) -> Decimal:
    return sum((in_usd(amount, prices.get(asset)) or ZERO for asset, amount in amounts.items()), ZERO)
