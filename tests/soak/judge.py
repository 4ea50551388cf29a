"""The judge of the long soak: what is wrong at one moment, and what stays wrong for longer than its bound. Pure.

It believes the venue: positions and resting orders are the exchange's, and our rows are held against them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

OURS, BOTH = "es1-", "BOTH"
ZERO = Decimal(0)
STOPS = frozenset({"STOP_MARKET", "STOP"})
# Symbol and position side: one position at the venue, one trade and one claim of ours.
Key = tuple[str, str]


class Kind(StrEnum):
    """Every way in which a run can turn red."""

    UNPROTECTED = "unprotected position"
    STUCK_TRADE = "stuck trade"
    BOOKS_DIFFER = "books differ from position"
    NO_TRADE = "position without trade"
    LOCKED_SYMBOL = "locked symbol"
    ORDER_WITHOUT_POSITION = "order without position"
    ORDER_WITHOUT_INTENT = "order without intent"
    GHOST_ORDER = "order only in our rows"
    NO_OUTCOME = "decision without outcome"
    NO_REASON = "outcome without reason"
    NO_NUMBERS = "refusal without numbers"
    LOST_DECISION = "decision lost"
    UNBOOKED_MONEY = "money without books"
    INVENTED_MONEY = "books without money"
    WRONG_NET = "net not the sum of its parts"
    WRONG_SHORTFALL = "shortfall not the sum of its parts"
    WALLET_DIFFERS = "books differ from wallet"
    UNSENT_EVENT = "event not sent"
    RAISED = "service raised"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A position at the venue; negative for a short."""

    symbol: str
    side: str
    amount: Decimal

    @property
    def key(self) -> Key:
        return self.symbol, self.side


@dataclass(frozen=True, kw_only=True)
class Resting:
    """An order that waits at the venue, ordinary or conditional. `whole`: it closes whatever is there."""

    client_id: str
    symbol: str
    side: str
    buys: bool
    kind: str
    quantity: Decimal
    whole: bool = False
    reduces: bool = False

    @property
    def key(self) -> Key:
        return self.symbol, self.side


@dataclass(frozen=True, kw_only=True)
class OpenTrade:
    """A trade that our rows call open, with what is left of it; negative for a short."""

    id: str
    symbol: str
    side: str
    amount: Decimal

    @property
    def key(self) -> Key:
        return self.symbol, self.side


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A symbol and side that our rows keep for a request. `alive`: the request is under way or its trade is open."""

    request: str
    symbol: str
    side: str
    alive: bool


@dataclass(frozen=True, kw_only=True)
class OurOrder:
    """An order that our rows call open."""

    client_id: str
    symbol: str
    side: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """A decision without a final state; `entry` is the client id of its order, empty before there is one."""

    id: str
    symbol: str
    side: str
    state: str
    entry: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One moment: the venue's positions and orders, and our rows.

    `foreign`: symbols that only others trade. `halted`: symbols in which the venue takes no order at all. `steps`: the
    least step of quantities by symbol.
    """

    at_ms: int
    cycle: int
    held: Sequence[Held] = ()
    resting: Sequence[Resting] = ()
    trades: Sequence[OpenTrade] = ()
    claims: Sequence[Claim] = ()
    orders: Sequence[OurOrder] = ()
    undecided: Sequence[Undecided] = ()
    foreign: frozenset[str] = frozenset()
    halted: frozenset[str] = frozenset()
    steps: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong at a moment; it may be right again at the next."""

    kind: Kind
    symbol: str
    subject: str
    sentence: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.symbol, self.subject


def findings(sample: Sample) -> list[Finding]:
    """Return everything that is wrong at one moment."""
    return [
        *_unprotected(sample),
        *_trades_against_positions(sample),
        *_positions_without_trade(sample),
        *_locked_symbols(sample),
        *_orders_without_reason(sample),
        *_ghost_orders(sample),
        *_undecided(sample),
    ]


def _unprotected(sample: Sample) -> Iterator[Finding]:
    for held in sample.held:
        if held.symbol in sample.foreign | sample.halted:
            continue
        stops = [row for row in sample.resting if _protects(row, held)]
        covered = abs(held.amount) if any(row.whole for row in stops) else sum((row.quantity for row in stops), ZERO)
        if covered < abs(held.amount) and not _is_odd_lot(abs(held.amount) - covered, held, sample):
            sentence = f"held={held.amount} covered={covered} by {len(stops)} stops"
            yield Finding(kind=Kind.UNPROTECTED, symbol=held.symbol, subject=held.side, sentence=sentence)


def _is_odd_lot(uncovered: Decimal, held: Held, sample: Sample) -> bool:
    """Whether no order can cover that: below the present step, and in hedge mode, where no order may be larger."""
    return held.side != BOTH and uncovered < sample.steps.get(held.symbol, ZERO)


def _protects(order: Resting, held: Held) -> bool:
    return order.key == held.key and order.kind in STOPS and order.buys is (held.amount < 0)


def _trades_against_positions(sample: Sample) -> Iterator[Finding]:
    amounts = {held.key: held.amount for held in sample.held}
    for trade in sample.trades:
        at_venue = amounts.get(trade.key, ZERO)
        if at_venue == trade.amount:
            continue
        flat = at_venue * trade.amount <= 0
        yield Finding(
            kind=Kind.STUCK_TRADE if flat else Kind.BOOKS_DIFFER,
            symbol=trade.symbol,
            subject=trade.id,
            sentence=f"trade open={trade.amount} venue={at_venue}",
        )


def _positions_without_trade(sample: Sample) -> Iterator[Finding]:
    known = {row.key for row in sample.trades}
    for held in sample.held:
        if held.symbol not in sample.foreign and held.key not in known:
            sentence = f"held={held.amount} and no open trade"
            yield Finding(kind=Kind.NO_TRADE, symbol=held.symbol, subject=held.side, sentence=sentence)


def _locked_symbols(sample: Sample) -> Iterator[Finding]:
    for claim in sample.claims:
        if not claim.alive:
            sentence = f"{claim.side} is kept for request {claim.request}, which is over"
            yield Finding(kind=Kind.LOCKED_SYMBOL, symbol=claim.symbol, subject=claim.side, sentence=sentence)


def _orders_without_reason(sample: Sample) -> Iterator[Finding]:
    held, known = {row.key for row in sample.held}, {order.client_id for order in sample.orders}
    for order in sample.resting:
        if not order.client_id.startswith(OURS):
            continue
        text = f"{order.kind} {'BUY' if order.buys else 'SELL'} {order.quantity}"
        if order.client_id not in known:
            kind, sentence = Kind.ORDER_WITHOUT_INTENT, f"{text} rests, and our rows do not want it"
        elif order.reduces and order.key not in held:
            kind, sentence = Kind.ORDER_WITHOUT_POSITION, f"{text} rests beside a flat {order.side}"
        else:
            continue
        yield Finding(kind=kind, symbol=order.symbol, subject=order.client_id, sentence=sentence)


def _ghost_orders(sample: Sample) -> Iterator[Finding]:
    here = {order.client_id for order in sample.resting}
    for order in sample.orders:
        if order.client_id not in here:
            sentence = f"our row says {order.state}, the venue has no such open order"
            yield Finding(kind=Kind.GHOST_ORDER, symbol=order.symbol, subject=order.client_id, sentence=sentence)


def _undecided(sample: Sample) -> Iterator[Finding]:
    """Name decisions under way without an entry that rests: nothing at the venue is waited for."""
    here = {order.client_id for order in sample.resting}
    for row in sample.undecided:
        if row.entry not in here:
            yield Finding(kind=Kind.NO_OUTCOME, symbol=row.symbol, subject=row.id, sentence=f"still {row.state}")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What makes a run red: when, what, where, and the numbers."""

    at_ms: int
    kind: Kind
    symbol: str
    subject: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """For how long something may be wrong: what harms in seconds or cycles, a row's doubt about an order in hours.

    The venue forgets old orders, so that a leg's absence is believed late; its position has its cover meanwhile.
    """

    naked_seconds: float
    cycles: int
    ghost_seconds: float


@dataclass(kw_only=True)
class Stretch:
    """A finding that goes on: since when, and whether it was told already."""

    finding: Finding
    since_ms: int
    since_cycle: int
    told: bool = False


@dataclass(kw_only=True)
class Watch:
    """Looks at one sample after the other and keeps what stays wrong beyond its bound."""

    bounds: Bounds
    violations: list[Violation] = field(default_factory=list)
    worst_naked_seconds: float = 0.0
    _open: dict[tuple[str, str, str], Stretch] = field(default_factory=dict)

    def look(self, sample: Sample) -> list[Violation]:
        """Take in a moment; return what has become a violation by it."""
        found = {finding.key: finding for finding in findings(sample)}
        self._open = {key: stretch for key, stretch in self._open.items() if self._goes_on(stretch, sample, found)}
        for key, finding in found.items():
            new = Stretch(finding=finding, since_ms=sample.at_ms, since_cycle=sample.cycle)
            self._open.setdefault(key, new).finding = finding
        broken = [self._tell(stretch, sample) for stretch in self._open.values() if self._is_broken(stretch, sample)]
        self.violations += broken
        return broken

    def forgive(self) -> None:
        """Count anew: our processes were not there."""
        self._open.clear()

    @property
    def waits(self) -> bool:
        """Whether anything is wrong that may still come right within its bound."""
        return any(not stretch.told for stretch in self._open.values() if stretch.finding.kind is not Kind.GHOST_ORDER)

    def _goes_on(self, stretch: Stretch, sample: Sample, found: Iterable[tuple[str, str, str]]) -> bool:
        if stretch.finding.kind is Kind.UNPROTECTED:
            # It lasted until now at the longest: cover comes between two moments.
            self.worst_naked_seconds = max(self.worst_naked_seconds, _seconds(stretch, sample))
        return stretch.finding.key in found

    def _is_broken(self, stretch: Stretch, sample: Sample) -> bool:
        if stretch.told:
            return False
        if stretch.finding.kind is Kind.UNPROTECTED:
            return _seconds(stretch, sample) > self.bounds.naked_seconds
        if stretch.finding.kind is Kind.GHOST_ORDER:
            return _seconds(stretch, sample) > self.bounds.ghost_seconds
        return sample.cycle - stretch.since_cycle > self.bounds.cycles

    def _tell(self, stretch: Stretch, sample: Sample) -> Violation:
        stretch.told = True
        found = stretch.finding
        lasted = f"{_seconds(stretch, sample):.0f}s and {sample.cycle - stretch.since_cycle} cycles"
        return Violation(
            at_ms=sample.at_ms,
            kind=found.kind,
            symbol=found.symbol,
            subject=found.subject,
            sentence=f"{found.sentence} for {lasted}",
        )


def _seconds(stretch: Stretch, sample: Sample) -> float:
    return (sample.at_ms - stretch.since_ms) / 1000
