"""Captures what the guard has read as JSON for the journal, and replays its rules from that alone."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from types import NoneType
from typing import Any, NotRequired, TypedDict, TypeVar, get_args, get_type_hints

from execution.domain.depth import Level
from execution.domain.exit_orders import judge_room
from execution.domain.json_values import JsonObject, JsonValue
from execution.domain.limits import LimitUsage, OrderImpact, judge_limits
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ONE
from execution.domain.policy import KEYS, Policy
from execution.domain.quote_index import ASSUMED_DOLLAR, QuoteIndex
from execution.domain.risk_review import Proposal, RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, InstrumentFilters, Quote, SymbolLists

T = TypeVar("T", InstrumentFilters, LimitUsage, MarginBracket, QuoteIndex)
PlainFields = dict[str, JsonValue]
# For journal lines that were written before quote assets were read: every contract was taken for one in this asset.
ASSETS_OF_BEFORE = {"quote_asset": ASSUMED_DOLLAR, "margin_asset": ASSUMED_DOLLAR}


class KeptQuote(TypedDict):
    """A quote as the journal keeps it: levels are pairs of price and quantity."""

    symbol: str
    mark: str
    bids: list[list[str]]
    asks: list[list[str]]


class KeptInputs(TypedDict):
    """The inputs of one verdict as the journal keeps them, with amounts as strings."""

    quote: KeptQuote
    symbol: PlainFields
    policy: dict[str, str]
    lists: dict[str, list[str]]
    equity: str | None
    brackets: list[PlainFields]
    quote_index: NotRequired[PlainFields | None]
    atr: NotRequired[str | None]


class ExitOrders(TypedDict):
    """How many conditional orders rest, and how many more the exits of an entry need."""

    resting: int
    needed: int


class KeptDetails(TypedDict, total=False):
    """The details of a journal line about one verdict, as far as a replay reads them."""

    inputs: KeptInputs
    policy_version: int
    usage: PlainFields
    exit_orders: ExitOrders


def capture(  # noqa: PLR0913 -- as `judge`
    quote: Quote,
    direction: Direction,
    *,
    rules: InstrumentFilters,
    policy: Policy,
    lists: SymbolLists,
    equity: Decimal | None,
    brackets: Sequence[MarginBracket],
    index: QuoteIndex | None,
    atr: Decimal | None = None,
) -> PlainFields:
    """Return the inputs of one verdict in the shape of `KeptInputs`, with every digit of the amounts."""
    # The side that the entry takes from in full, and the best level of the other.
    bids, asks = (quote.bids[:1], quote.asks) if direction is Direction.LONG else (quote.bids, quote.asks[:1])
    return {
        "quote": {
            "symbol": quote.symbol,
            "mark": _plain(quote.mark),
            "bids": _plain_levels(bids),
            "asks": _plain_levels(asks),
        },
        "symbol": plain_fields(rules),
        "policy": plain_policy(policy),
        "lists": {name: sorted(symbols) for name, symbols in asdict(lists).items()},
        "equity": _plain(equity),
        "brackets": [plain_fields(bracket) for bracket in brackets],
        "quote_index": plain_fields(index) if index else None,
        "atr": _plain(atr),
    }


def plain_fields(values: InstrumentFilters | LimitUsage | MarginBracket | QuoteIndex) -> PlainFields:
    return {name: _plain(value) for name, value in asdict(values).items()}


def plain_policy(policy: Policy) -> PlainFields:
    return {key: _plain(policy[key]) for key in KEYS}


def impact_of(proposal: Proposal, verdict: Verdict) -> OrderImpact:
    """Return what an entry with this verdict adds to the usage of the limits."""
    return OrderImpact.of(
        proposal.symbol,
        quantity=verdict.quantity,
        price=verdict.reference_price,
        stop_price=verdict.stop_price,
        usd_per_quote=verdict.index.price if verdict.index else ONE,
    )


def replay(proposal: Proposal, details: KeptDetails) -> tuple[RuleVerdict, ...]:
    """Return every rule's verdict from a journal line.

    The limits are judged when the line has their usage.
    """
    verdict = replay_verdict(proposal, details)
    if "usage" not in details:
        return verdict.rules
    usage, policy = _restored(LimitUsage, details["usage"]), _policy_of(details)
    room = [judge_room(**details["exit_orders"], policy=policy)] if "exit_orders" in details else []
    return (*verdict.rules, *judge_limits(impact_of(proposal, verdict), usage, policy), *room)


def replay_verdict(proposal: Proposal, details: KeptDetails, *, policy: Policy | None = None) -> Verdict:
    """Return the guard's verdict on the inputs of a journal line, by the line's policy or by another one."""
    inputs = details["inputs"]
    quote = inputs["quote"]
    return judge(
        proposal,
        quote=Quote(
            symbol=quote["symbol"],
            mark=Decimal(quote["mark"]),
            bids=_restored_levels(quote["bids"]),
            asks=_restored_levels(quote["asks"]),
        ),
        rules=_restored(InstrumentFilters, ASSETS_OF_BEFORE | inputs["symbol"]),
        policy=policy or _policy_of(details),
        lists=SymbolLists(**{name: frozenset(symbols) for name, symbols in inputs["lists"].items()}),
        equity=None if inputs["equity"] is None else Decimal(inputs["equity"]),
        brackets=[_restored(MarginBracket, bracket) for bracket in inputs["brackets"]],
        index=_restored(QuoteIndex, known) if (known := inputs.get("quote_index")) else None,
        atr=Decimal(atr) if (atr := inputs.get("atr")) else None,
    )


def _policy_of(details: KeptDetails) -> Policy:
    values = {key: Decimal(value) for key, value in details["inputs"]["policy"].items()}
    return Policy(values=values, version=details["policy_version"])


def _plain_levels(levels: Sequence[Level]) -> JsonValue:
    return [[_plain(level.price), _plain(level.quantity)] for level in levels]


def _restored_levels(rows: Iterable[Sequence[str]]) -> tuple[Level, ...]:
    return tuple(Level(price=Decimal(price), quantity=Decimal(quantity)) for price, quantity in rows)


def _plain(value: "JsonValue | Decimal") -> JsonValue:
    return format(value, "f") if isinstance(value, Decimal) else value


def _restored(kind: type[T], fields: JsonObject) -> T:
    """Return the value of this class whose fields `plain_fields` has written."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = dict(fields)
    for name, value in fields.items():
        kinds = {each for each in (get_args(hints[name]) or (hints[name],)) if each is not NoneType}
        if kinds == {Decimal} and isinstance(value, str | int | float):
            values[name] = Decimal(value)
    return kind(**values)
