"""Previews a decision: every rule's verdict, the size and the orders. Nothing is written or sent.

The verdicts come from the functions by which the chain decides. The chain stops at the first refusal; a preview goes
on, so that all of them show. Leverage, margin type and position mode at the exchange are set and checked right before
an entry is sent, and are no part of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.clocks import Clock
from execution.domain.entry_preview import Layer, Outlook, PreviewedRule, RuleFinding, judged
from execution.domain.exits import ExitPlan
from execution.domain.ports import Exchange, ExchangeUnavailableError, Memory, OrderTicket, RiskSafety
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.trading import OrderPurpose, SymbolLists
from execution.models import ExecutionRequest
from execution.orders.submit import approved_entry, ticket_for
from execution.protection.bracket_manager import planned_exits
from execution.risk.approve_entry import approved_columns, review_limits
from execution.risk.decision_snapshot import impact_of
from execution.risk.entry_expiry import age_verdict
from execution.risk.entry_gate import GateBlock, Stack, data_loss_block, gate_blocks
from execution.risk.ess import EssRules, ess_verdict, look
from execution.risk.proposal import proposal_of
from execution.risk.review_entry import EntryReview, review_entry


@dataclass(frozen=True, kw_only=True)
class PlannedOrder:
    """An order of an entry or one of its exits, in the exchange's terms."""

    purpose: OrderPurpose
    ticket: OrderTicket


@dataclass(frozen=True, kw_only=True)
class EntrySize:
    """The approved numbers: quantity in the base asset, prices in the quote asset."""

    quantity: Decimal
    notional_usd: Decimal
    reference_price: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    target_price: Decimal
    leverage: int
    policy_version: int


@dataclass(frozen=True, kw_only=True)
class EntryPreview:
    """What would become of a decision now.

    `request` is unsaved. It has its approved numbers when there is a `size`.
    `orders` are the entry and, for all of its quantity, its exits. They are sent only if the outlook is APPROVED.
    """

    request: ExecutionRequest
    rules: tuple[PreviewedRule, ...]
    size: EntrySize | None = None
    orders: tuple[PlannedOrder, ...] = ()

    @property
    def decisive(self) -> PreviewedRule | None:
        """Return the rule at which the chain would stop."""
        stopping = (RuleFinding.REFUSED, RuleFinding.WAITS)
        return next((rule for rule in self.rules if rule.finding in stopping), None)

    @property
    def outlook(self) -> Outlook:
        if self.decisive is None:
            return Outlook.APPROVED
        return Outlook.DENIED if self.decisive.finding is RuleFinding.REFUSED else Outlook.WAITS


@dataclass(frozen=True, kw_only=True)
class PreviewPorts:
    """What the chain's first steps ask, and the settings by which they decide."""

    risk_safety: RiskSafety
    ess_rules: EssRules
    exchange: Exchange
    stack: Stack
    memory: Memory
    lists: SymbolLists
    clock: Clock


def preview_entry(request: ExecutionRequest, ports: PreviewPorts) -> EntryPreview:
    """Ask every rule about a decision that is not stored.

    It fills in the approved numbers of `request`.
    """
    clock = ports.clock
    asked = [
        *judged(Layer.AGE, [age_verdict(request, now=clock())]),
        *judged(Layer.ESS, [ess_verdict(look(ports.risk_safety, ports.ess_rules, clock))]),
        *_blocks(ports, request.symbol, now=clock()),
    ]
    try:
        review = review_entry(request, exchange=ports.exchange, lists=ports.lists, clock=clock)
    except ExchangeUnavailableError as error:
        # The chain tries again until the decision is too old.
        unread = PreviewedRule(
            layer=Layer.GUARD,
            rule="market_data",
            finding=RuleFinding.WAITS,
            numbers=str(error),
            code=Reason.MARKET_DATA_UNAVAILABLE,
        )
        return EntryPreview(request=request, rules=(*asked, unread))
    if isinstance(review, RuleVerdict):
        return EntryPreview(request=request, rules=(*asked, *judged(Layer.GUARD, [review])))
    asked += judged(Layer.GUARD, review.verdict.rules)
    if review.verdict.exits is None:
        # Without a price nothing has a size that the limits could count.
        return EntryPreview(request=request, rules=tuple(asked))
    asked += judged(Layer.LIMITS, review_limits(request, review, now=clock()).limits)
    if review.verdict.refusal:
        return EntryPreview(request=request, rules=tuple(asked))
    return _sized(request, review, review.verdict.exits, tuple(asked), now=clock())


def _sized(
    request: ExecutionRequest, review: EntryReview, exits: ExitPlan, rules: tuple[PreviewedRule, ...], *, now: datetime
) -> EntryPreview:
    verdict = review.verdict
    for name, value in approved_columns(request, review, now=now).items():
        setattr(request, name, value)
    specs = [approved_entry(request), *planned_exits(request, exits, review.rules)]
    return EntryPreview(
        request=request,
        rules=rules,
        size=EntrySize(
            quantity=verdict.quantity,
            notional_usd=impact_of(proposal_of(request), verdict).notional,
            reference_price=verdict.reference_price,
            limit_price=verdict.limit_price,
            stop_price=verdict.stop_price or None,
            target_price=verdict.target_price,
            leverage=request.leverage,
            policy_version=review.policy.version,
        ),
        orders=tuple(PlannedOrder(purpose=spec.purpose, ticket=ticket_for(request, spec)) for spec in specs),
    )


def _blocks(ports: PreviewPorts, symbol: str, *, now: datetime) -> Iterator[PreviewedRule]:
    """Yield all that closes the entry gate, or that it is open."""
    lost = data_loss_block(ports.memory)
    blocks: list[tuple[str, GateBlock]] = [*gate_blocks(ports.stack, symbol, now=now)]
    blocks += [("redis_data", lost)] if lost else []
    for rule, block in blocks:
        finding = RuleFinding.REFUSED if block.code else RuleFinding.WAITS
        yield PreviewedRule(layer=Layer.GATE, rule=rule, finding=finding, numbers=block.sentence, code=block.code)
    if not blocks:
        yield PreviewedRule(layer=Layer.GATE, rule="entry_gate", finding=RuleFinding.PASSED, numbers="open")
