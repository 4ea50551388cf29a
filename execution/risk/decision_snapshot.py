"""What the guard saw, written beside its verdicts as plain JSON, and the guard's rules run again from that alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from execution.domain.depth import Level
from execution.domain.exit_orders import judge_room
from execution.domain.limits import LimitUsage, OrderImpact, judge_limits
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ONE
from execution.domain.policy import KEYS, Policy
from execution.domain.quote_index import ASSUMED_DOLLAR, QuoteIndex
from execution.domain.risk_review import Proposal, RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, InstrumentFilters, Quote, SymbolLists

T = TypeVar("T", InstrumentFilters, LimitUsage, MarginBracket, QuoteIndex)
# Journal lines of before quote assets were read: every contract was taken for one in this asset.
ASSETS_OF_BEFORE = {"quote_asset": ASSUMED_DOLLAR, "margin_asset": ASSUMED_DOLLAR}


def capture(
    quote: Quote,
    direction: Direction,
    *,
    rules: InstrumentFilters,
    policy: Policy,
    lists: SymbolLists,
    equity: Decimal | None,
    brackets: Sequence[MarginBracket],
    index: QuoteIndex | None,
) -> dict[str, Any]:
    """Return the inputs of one verdict; amounts are strings with all their digits."""
    return {
        "quote": _plain_quote(quote, direction),
        "symbol": plain_fields(rules),
        "policy": plain_policy(policy),
        "lists": {name: sorted(symbols) for name, symbols in asdict(lists).items()},
        "equity": _plain(equity),
        "brackets": [plain_fields(bracket) for bracket in brackets],
        "quote_index": plain_fields(index) if index else None,
    }


def plain_fields(values: InstrumentFilters | LimitUsage | MarginBracket | QuoteIndex) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(values).items()}


def plain_policy(policy: Policy) -> dict[str, Any]:
    return {key: _plain(policy[key]) for key in KEYS}


def impact_of(proposal: Proposal, verdict: Verdict) -> OrderImpact:
    """Return what an entry with this verdict adds to what is used."""
    return OrderImpact.of(
        proposal.symbol,
        quantity=verdict.quantity,
        price=verdict.reference_price,
        stop_price=verdict.stop_price,
        usd_per_quote=verdict.index.price if verdict.index else ONE,
    )


def replay(proposal: Proposal, details: Mapping[str, Any]) -> tuple[RuleVerdict, ...]:
    """Return every rule's verdict from what a journal line has kept; the limits' too when they had been asked."""
    verdict = replay_verdict(proposal, details)
    if "usage" not in details:
        return verdict.rules
    usage, policy = _restored(LimitUsage, details["usage"]), _policy_of(details)
    room = [judge_room(**details["exit_orders"], policy=policy)] if "exit_orders" in details else []
    return (*verdict.rules, *judge_limits(impact_of(proposal, verdict), usage, policy), *room)


def replay_verdict(proposal: Proposal, details: Mapping[str, Any], *, policy: Policy | None = None) -> Verdict:
    """Return the guard's verdict on what a journal line has kept, by the policy of that time or by another one."""
    inputs = details["inputs"]
    return judge(
        proposal,
        quote=_restored_quote(inputs["quote"]),
        rules=_restored(InstrumentFilters, ASSETS_OF_BEFORE | inputs["symbol"]),
        policy=policy or _policy_of(details),
        lists=SymbolLists(**{name: frozenset(symbols) for name, symbols in inputs["lists"].items()}),
        equity=None if inputs["equity"] is None else Decimal(inputs["equity"]),
        brackets=[_restored(MarginBracket, bracket) for bracket in inputs["brackets"]],
        index=_restored(QuoteIndex, known) if (known := inputs.get("quote_index")) else None,
    )


def _policy_of(details: Mapping[str, Any]) -> Policy:
    values = {key: Decimal(value) for key, value in details["inputs"]["policy"].items()}
    return Policy(values=values, version=details["policy_version"])


def _plain_quote(quote: Quote, direction: Direction) -> dict[str, Any]:
    """Return the side that the entry takes from in full, and the best level of the other."""
    bids, asks = (quote.bids[:1], quote.asks) if direction is Direction.LONG else (quote.bids, quote.asks[:1])
    sides = {"bids": _plain_levels(bids), "asks": _plain_levels(asks)}
    return {"symbol": quote.symbol, "mark": _plain(quote.mark), **sides}


def _plain_levels(levels: Sequence[Level]) -> list[list[object]]:
    return [[_plain(level.price), _plain(level.quantity)] for level in levels]


def _restored_quote(fields: Mapping[str, Any]) -> Quote:
    return Quote(
        symbol=fields["symbol"],
        mark=Decimal(fields["mark"]),
        bids=_restored_levels(fields["bids"]),
        asks=_restored_levels(fields["asks"]),
    )


def _restored_levels(rows: Iterable[Sequence[str]]) -> tuple[Level, ...]:
    return tuple(Level(price=Decimal(price), quantity=Decimal(quantity)) for price, quantity in rows)


def _plain(value: object) -> object:
    return format(value, "f") if isinstance(value, Decimal) else value


def _restored(kind: type[T], fields: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in fields.items()})


def _typed(hint: Any, value: Any) -> Any:
    kinds = {each for each in (get_args(hint) or (hint,)) if each is not NoneType}
    return Decimal(value) if kinds == {Decimal} and value is not None else value
