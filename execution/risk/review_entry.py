"""Reviews an entry by the guard's rules, on market, account and policy, and keeps every input."""

from dataclasses import dataclass
from decimal import Decimal

from execution.domain.clocks import Clock
from execution.domain.json_values import JsonValue
from execution.domain.policy import Policy
from execution.domain.ports import Exchange
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal, RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.sizing import needs_equity
from execution.domain.trading import InstrumentFilters, PositionSide, SymbolLists
from execution.domain.true_range import average_true_range, candles_to_read, judge_candles
from execution.models import ExecutionRequest
from execution.risk.decision_snapshot import capture
from execution.risk.policy_store import policy_reading
from execution.risk.pricing import priced
from execution.risk.proposal import as_json, proposal_of


@dataclass(frozen=True, kw_only=True)
class EntryReview:
    """One verdict with what it was reached by, and `details` for the journal: rules and inputs as JSON."""

    verdict: Verdict
    policy: Policy
    rules: InstrumentFilters
    side: PositionSide
    details: dict[str, JsonValue]


def _measure(proposal: Proposal, exchange: Exchange, clock: Clock) -> Decimal | RuleVerdict | None:
    """Read the ATR that an entry's exits are measured by, None when none is.

    Candles that cannot be relied on are a refusal.
    """
    terms = proposal.atr
    if terms is None:
        return None
    candles = exchange.closed_candles(proposal.symbol, terms.interval, candles_to_read(terms.period))
    verdict = judge_candles(candles, terms, now=clock())
    return verdict if verdict.refusal else average_true_range(candles, terms.period)


def review_entry(
    request: ExecutionRequest, *, exchange: Exchange, lists: SymbolLists, clock: Clock
) -> EntryReview | RuleVerdict:
    """Judge an entry by the guard's rules.

    Returns:
        The review, or the refusing rule alone when the symbol is unknown or the policy unreadable.

    Raises:
        ExchangeUnavailableError: no market data.

    """
    rules = exchange.rules(request.symbol)
    reading = policy_reading()
    policy = reading.policy
    if rules is None:
        return RuleVerdict(rule="symbol", numbers=f"symbol={request.symbol}", refusal=Reason.UNKNOWN_SYMBOL)
    if policy.unusable:
        # The default of an unreadable limit may be looser than the stored value.
        keys = ",".join(sorted(policy.unusable))
        return RuleVerdict(rule="policy", numbers=f"keys={keys}", refusal=Reason.POLICY_UNUSABLE)
    quote = exchange.quote(request.symbol)
    proposal = proposal_of(request)
    index = priced(exchange, rules.quote_asset)
    equity = None
    if needs_equity(proposal, policy):
        # In USD, behind contracts of this margin asset; None when no index prices the asset.
        margin_index = priced(exchange, rules.margin_asset)
        equity = exchange.equity().behind(rules.margin_asset, margin_index) if margin_index else None
    brackets = exchange.margin_brackets(request.symbol)
    atr = _measure(proposal, exchange, clock)
    if isinstance(atr, RuleVerdict):
        return atr
    verdict = judge(
        proposal,
        quote=quote,
        rules=rules,
        policy=policy,
        lists=lists,
        equity=equity,
        brackets=brackets,
        index=index,
        atr=atr,
    )
    side = PositionSide(request.direction) if exchange.hedge_mode() else PositionSide.BOTH
    inputs = capture(
        quote,
        proposal.direction,
        rules=rules,
        policy=policy,
        lists=lists,
        equity=equity,
        brackets=brackets,
        index=index,
        atr=atr,
    )
    details: dict[str, JsonValue] = {
        "rules": [as_json(rule) for rule in verdict.rules],
        "policy_version": policy.version,
        "policy_age_seconds": reading.age_seconds(clock()),
        "inputs": inputs,
    }
    return EntryReview(verdict=verdict, policy=policy, rules=rules, side=side, details=details)
