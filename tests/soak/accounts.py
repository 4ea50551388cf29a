"""The judge's second half: money. Every line of the venue's income has its place in our books, and nothing else has.

Pure. A line is one change of the wallet as GET /fapi/v1/income shows it, to the last digit.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.soak.judge import Kind, Violation

ZERO = Decimal(0)
# To which shortfalls are rounded.
LAST_DIGIT = Decimal("1E-12")
REALIZED, COMMISSION = "REALIZED_PNL", "COMMISSION"
OF_FILLS = frozenset({REALIZED, COMMISSION})
# Money that its owner brought or took, or changed from one asset into another.
OF_THE_OWNER = frozenset({"TRANSFER", "WELCOME_BONUS", "AUTO_EXCHANGE", "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW"})
Sums = Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One change of the wallet. `trade_id` is the fill's number, empty for what is no fill's."""

    kind: str
    symbol: str
    asset: str
    amount: Decimal
    at_ms: int
    tran_id: str
    trade_id: str = ""

    @property
    def text(self) -> str:
        return f"{self.kind} {self.amount} {self.asset} tranId={self.tran_id} tradeId={self.trade_id or '-'}"


@dataclass(frozen=True, kw_only=True)
class BookedFill:
    """A fill as our rows have it; `margin_asset` is what its contract is settled in."""

    symbol: str
    trade_id: str
    trade: str
    realized: Decimal
    commission: Decimal
    commission_asset: str
    margin_asset: str


@dataclass(frozen=True, kw_only=True)
class BookedIncome:
    """A line that our rows count for a trade."""

    kind: str
    tran_id: str
    trade: str
    symbol: str
    asset: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class OpenSpan:
    """A trade that is open still, and since when: money that moves for it is booked later."""

    symbol: str
    since_ms: int


@dataclass(frozen=True, kw_only=True)
class ClosedTrade:
    """A closed trade's net beside the sums of its own rows, all as valued by our books in the quote asset."""

    id: str
    symbol: str
    net: Decimal
    realized: Decimal
    fees: Decimal
    income: Decimal
    # What its execution has cost, None where no benchmark is known, and the sum of the parts of that.
    shortfall: Decimal | None = None
    shortfall_parts: Decimal = ZERO
    # What the paper trade earned more, without rounding.
    paper: Decimal | None = None

    @property
    def shortfall_holds(self) -> bool:
        """Whether its parts add up to the shortfall to the last digit, and that is what the paper trade earned more."""
        if self.shortfall is None or self.paper is None:
            return self.shortfall is None
        return self.shortfall == self.shortfall_parts and abs(self.shortfall - self.paper) <= LAST_DIGIT


@dataclass(kw_only=True)
class Books:
    """Whatever our rows say of money, by the venue's names for it."""

    fills: dict[tuple[str, str], BookedFill] = field(default_factory=dict)
    income: dict[tuple[str, str], BookedIncome] = field(default_factory=dict)
    open: Sequence[OpenSpan] = ()
    closed: Sequence[ClosedTrade] = ()

    def sums(self) -> Sums:
        """Return what all our books add up to, by asset: PnL less fees, and income."""
        total: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for fill in self.fills.values():
            total[fill.margin_asset] += fill.realized
            total[fill.commission_asset] -= fill.commission
        for row in self.income.values():
            total[row.asset] += row.amount
        return total


@dataclass(kw_only=True)
class Statement:
    """The venue's lines, each put where it belongs."""

    ours: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    others: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    owner: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    waiting: list[Line] = field(default_factory=list)
    strange: list[tuple[Line, str]] = field(default_factory=list)

    def asset_names(self) -> set[str]:
        return {*self.ours, *self.others, *self.owner, *(line.asset for line in self.waiting)}


def sorted_out(lines: Iterable[Line], books: Books, foreign: frozenset[str]) -> Statement:
    """Put every line where it belongs: our books, others, the owner, what an open trade books later, or nowhere."""
    found = Statement()
    for line in lines:
        if line.kind in OF_THE_OWNER:
            found.owner[line.asset] += line.amount
        elif line.symbol in foreign:
            found.others[line.asset] += line.amount
        else:
            _place(line, books, found)
    return found


def _place(line: Line, books: Books, found: Statement) -> None:
    booked = _booked(line, books)
    if booked == (line.amount, line.asset):
        found.ours[line.asset] += line.amount
    elif booked is not None:
        found.strange.append((line, f"booked as {booked[0]} {booked[1]}"))
    elif any(span.symbol == line.symbol and span.since_ms <= line.at_ms for span in books.open):
        found.waiting.append(line)
    else:
        found.strange.append((line, "booked by no trade, and none is open"))


def _booked(line: Line, books: Books) -> tuple[Decimal, str] | None:
    if line.kind in OF_FILLS:
        fill = books.fills.get((line.symbol, line.trade_id))
        if fill is None:
            return None
        return (
            (fill.realized, fill.margin_asset) if line.kind == REALIZED else (-fill.commission, fill.commission_asset)
        )
    row = books.income.get((line.kind, line.tran_id))
    return None if row is None else (row.amount, row.asset)


def audit(
    lines: Sequence[Line], books: Books, *, began: Sums, wallet: Sums, foreign: frozenset[str], at_ms: int
) -> list[Violation]:
    """Hold our books against the venue's lines and its wallet; return everything that is not equal."""
    found = sorted_out(lines, books, foreign)
    broken = [
        *((Kind.UNBOOKED_MONEY, line.symbol, line.tran_id, f"{line.text} {why}") for line, why in found.strange),
        *_invented(lines, books),
        *_wrong_nets(books),
        *_gaps(found, books, began=began, wallet=wallet),
    ]
    return [
        Violation(at_ms=at_ms, kind=kind, symbol=symbol, subject=subject, sentence=text)
        for kind, symbol, subject, text in broken
    ]


Broken = tuple[Kind, str, str, str]


def _invented(lines: Sequence[Line], books: Books) -> Iterator[Broken]:
    """Name what our books count and the venue does not show."""
    shown = {(line.kind, line.symbol, line.trade_id) for line in lines if line.kind in OF_FILLS}
    lined = {(line.kind, line.tran_id) for line in lines}
    for fill in books.fills.values():
        for kind, amount in ((REALIZED, fill.realized), (COMMISSION, fill.commission)):
            if amount and (kind, fill.symbol, fill.trade_id) not in shown:
                yield Kind.INVENTED_MONEY, fill.symbol, fill.trade, f"{kind} {amount} of fill {fill.trade_id}"
    for row in books.income.values():
        if (row.kind, row.tran_id) not in lined:
            yield Kind.INVENTED_MONEY, row.symbol, row.trade, f"{row.kind} {row.amount} tranId={row.tran_id}"


def _wrong_nets(books: Books) -> Iterator[Broken]:
    for trade in books.closed:
        parts = trade.realized - trade.fees + trade.income
        if trade.net != parts:
            yield Kind.WRONG_NET, trade.symbol, trade.id, f"net={trade.net} parts={parts}"
        if not trade.shortfall_holds:
            sentence = f"shortfall={trade.shortfall} parts={trade.shortfall_parts} paper={trade.paper}"
            yield Kind.WRONG_SHORTFALL, trade.symbol, trade.id, sentence


def _gaps(found: Statement, books: Books, *, began: Sums, wallet: Sums) -> Iterator[Broken]:
    """Add up the books, others, the owner and what waits, asset by asset: it is the wallet, or money is missing."""
    ours, waiting = books.sums(), _by_asset(found.waiting)
    for asset in sorted({*wallet, *began, *ours, *found.asset_names()}):
        parts = {
            "began": began.get(asset, ZERO),
            "books": ours.get(asset, ZERO),
            "others": found.others.get(asset, ZERO),
            "owner": found.owner.get(asset, ZERO),
            "unbooked": waiting.get(asset, ZERO),
        }
        total, there = sum(parts.values(), ZERO), wallet.get(asset, ZERO)
        if total != there:
            told = " ".join(f"{name}={amount}" for name, amount in parts.items())
            yield Kind.WALLET_DIFFERS, asset, asset, f"{told} sum={total} wallet={there} missing={there - total}"


def _by_asset(lines: Iterable[Line]) -> Sums:
    total: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        total[line.asset] += line.amount
    return total
