"""What of the exchange's contracts and our account's settings blocks entries. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from execution.domain.reasons import Reason
from execution.domain.trading import InstrumentFilters

TRADING = "TRADING"
UNLISTED = "unlisted"
# Orders that only reduce are still taken.
CLOSABLE = frozenset({TRADING, "PRE_DELIVERING", "PRE_SETTLE"})
# Health reports a position in a contract that ends this soon, whatever the policy demands of entries.
REPORTED_BEFORE_END = timedelta(days=1)
ONE_WAY, HEDGE = "one-way", "hedge"
# A demand that takes a mode as it is.
ANY = "any"
# The scope of what concerns every symbol.
WHOLE_ACCOUNT = "ACCOUNT"
# No reading of settings is young enough: they are read again.
READ_ANEW = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class ContractTerms:
    """Whether a contract trades, and when it ends, if that is known.

    `dated`: it has had its end from the beginning, which is news only when it comes near. The end of any other is
    announced, and news at once.
    """

    status: str
    delivers_at: datetime | None = None
    dated: bool = False


@dataclass(frozen=True, kw_only=True)
class SymbolSettings:
    """Leverage and margin type of a symbol at our account."""

    leverage: int
    margin_type: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One reading of all contracts and of the account's settings, with the operator's demands."""

    contracts: Mapping[str, ContractTerms]
    settings: Mapping[str, SymbolSettings]
    position_mode: str
    may_trade: bool
    demanded_mode: str = ANY
    demanded_margin: str = ANY
    # The present filters of every contract.
    rules: Mapping[str, InstrumentFilters] = field(default_factory=dict)
    # How old the account's settings are; the contracts are read each time.
    settings_age: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class ExpectedSettings:
    """What our books rest on.

    `leverages`: by symbol, what open trades and entries under way have asked for, where a trade was open before the
    exchange was read. `traded`: symbols with a trade that is open, or was lately. `no_entry_before_end`: how long
    before its end a dated contract takes no entry, counted from `now`.
    """

    position_mode: str
    held: frozenset[str] = frozenset()
    traded: frozenset[str] = frozenset()
    leverages: Mapping[str, frozenset[int]] = field(default_factory=dict)
    now: datetime
    no_entry_before_end: timedelta = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class FoundBlock:
    """Why no entry may be sent in a scope, which is a symbol or the whole account.

    `alarming`: it concerns more than entries. `ends_at`: when a contract ends that can still be closed.
    """

    scope: str
    code: Reason
    sentence: str
    alarming: bool
    ends_at: datetime | None = None


def find_blocks(terms: Terms, ours: ExpectedSettings) -> list[FoundBlock]:
    """Return everything that blocks entries, at most one of a code in a scope."""
    return [
        *_of_account(terms, ours),
        *_of_contracts(terms, ours),
        *_of_leverage(terms, ours),
        *_of_margin(terms, ours),
    ]


def _of_account(terms: Terms, ours: ExpectedSettings) -> Iterator[FoundBlock]:
    if not terms.may_trade:
        yield _alarm(WHOLE_ACCOUNT, Reason.ACCOUNT_MAY_NOT_TRADE, "canTrade=false")
    if terms.position_mode != ours.position_mode:
        numbers = f"wanted={ours.position_mode} found={terms.position_mode}"
        yield _alarm(WHOLE_ACCOUNT, Reason.POSITION_MODE_MISMATCH, numbers)


def _of_contracts(terms: Terms, ours: ExpectedSettings) -> Iterator[FoundBlock]:
    """Find every contract that does not trade or is about to end. An open position makes it alarming.

    A dated one is about to end for as long before as no entry is taken, and with a position in it for a day at least.
    """
    unlisted = {symbol: ContractTerms(status=UNLISTED) for symbol in sorted(ours.held - terms.contracts.keys())}
    for symbol, contract in {**terms.contracts, **unlisted}.items():
        halted = contract.status != TRADING
        if not halted and not _is_about_to_end(contract, ours, held=symbol in ours.held):
            continue
        ends = f" delivers_at={contract.delivers_at.isoformat()}" if contract.delivers_at else ""
        yield FoundBlock(
            scope=symbol,
            code=Reason.SYMBOL_NOT_TRADING if halted else Reason.SYMBOL_ENDS,
            sentence=f"symbol={symbol} status={contract.status}{ends}",
            alarming=symbol in ours.held,
            ends_at=contract.delivers_at if contract.status in CLOSABLE else None,
        )


def _is_about_to_end(contract: ContractTerms, ours: ExpectedSettings, *, held: bool) -> bool:
    if contract.delivers_at is None or not contract.dated:
        return contract.delivers_at is not None
    before = max(ours.no_entry_before_end, REPORTED_BEFORE_END) if held else ours.no_entry_before_end
    return ours.now >= contract.delivers_at - before


def _of_leverage(terms: Terms, ours: ExpectedSettings) -> Iterator[FoundBlock]:
    """Find symbols whose leverage none of our trades or entries has asked for."""
    for symbol, wanted in ours.leverages.items():
        found = terms.settings.get(symbol)
        if found and found.leverage not in wanted:
            numbers = f"symbol={symbol} wanted={'/'.join(map(str, sorted(wanted)))} found={found.leverage}"
            yield _alarm(symbol, Reason.LEVERAGE_MISMATCH, numbers)


def _of_margin(terms: Terms, ours: ExpectedSettings) -> Iterator[FoundBlock]:
    for symbol in sorted(ours.traded):
        found = terms.settings.get(symbol)
        if found and terms.demanded_margin not in {ANY, found.margin_type}:
            numbers = f"symbol={symbol} wanted={terms.demanded_margin} found={found.margin_type}"
            yield _alarm(symbol, Reason.MARGIN_TYPE_MISMATCH, numbers)


def _alarm(scope: str, code: Reason, sentence: str) -> FoundBlock:
    return FoundBlock(scope=scope, code=code, sentence=sentence, alarming=True)
