"""Applies the guard's rules to a request: reads the market, the account and the policy, and notes every input."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from execution.domain.clocks import Clock
from execution.domain.policy import Policy
from execution.domain.ports import Exchange
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.sizing import SizingMode, sizing_mode
from execution.domain.trading import InstrumentFilters, PositionSide, SymbolLists
from execution.models import ExecutionRequest
from execution.risk.decision_snapshot import capture
from execution.risk.policy_store import policy_age_seconds, policy_in_force
from execution.risk.pricing import priced
from execution.risk.proposal import as_json, proposal_of


@dataclass(frozen=True, kw_only=True)
class EntryReview:
    """One verdict, what it was reached with, and `details` for the journal: rules and inputs as JSON."""

    verdict: Verdict
    policy: Policy
    rules: InstrumentFilters
    side: PositionSide
    details: dict[str, Any]


def review_entry(
    request: ExecutionRequest, *, exchange: Exchange, lists: SymbolLists, clock: Clock
) -> EntryReview | RuleVerdict:
    """EntryReview an entry; a RuleVerdict when the symbol is unknown or the policy unreadable.

    Raises:
        ExchangeUnavailableError: no market data.

    """
    rules = exchange.rules(request.symbol)
    policy = policy_in_force()
    if rules is None:
        return RuleVerdict(rule="symbol", numbers=f"symbol={request.symbol}", refusal=Reason.UNKNOWN_SYMBOL)
    if policy.unusable:
        return _unjudgeable(policy)
    quote = exchange.quote(request.symbol)
    proposal = proposal_of(request)
    index = priced(exchange, rules.quote_asset)
    by_equity = sizing_mode(proposal, policy) is SizingMode.EQUITY_FRACTION
    equity = _equity(exchange, rules) if by_equity else None
    brackets = exchange.margin_brackets(request.symbol)
    verdict = judge(
        proposal, quote=quote, rules=rules, policy=policy, lists=lists, equity=equity, brackets=brackets, index=index
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
    )
    details: dict[str, Any] = {"rules": [as_json(rule) for rule in verdict.rules], "policy_version": policy.version}
    details |= {"policy_age_seconds": policy_age_seconds(clock()), "inputs": inputs}
    return EntryReview(verdict=verdict, policy=policy, rules=rules, side=side, details=details)


def _unjudgeable(policy: Policy) -> RuleVerdict:
    """Refuse by limits that nobody can read: their defaults may be looser than what was meant."""
    return RuleVerdict(
        rule="policy", numbers=f"keys={','.join(sorted(policy.unusable))}", refusal=Reason.POLICY_UNUSABLE
    )


def _equity(exchange: Exchange, rules: InstrumentFilters) -> Decimal | None:
    """Return what stands behind contracts of this margin asset, in USD; None when no index prices the asset."""
    index = priced(exchange, rules.margin_asset)
    return exchange.equity().behind(rules.margin_asset, index) if index else None
