"""Writes one decision's whole story line by line, from the rows alone, for command line and REST."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

from execution.domain.money import basis_points, plain
from execution.domain.states import RequestTrigger
from execution.models import AuditEvent, ExecutionRequest, Fill, Order, Trade
from execution.queries.requests import Story

HEAD_WIDTH = 9
ESS_STEPS = frozenset({RequestTrigger.ESS_CLEARED, RequestTrigger.ESS_BLOCKED})
POSITION_UPDATED = "position.updated"
GUARD_STEPS = frozenset({RequestTrigger.GUARD_APPROVED, RequestTrigger.GUARD_DENIED})


class RecordedRule(TypedDict):
    """A rule's verdict as the journal keeps it.

    The amounts `before` and `after` are text, None where the rule adjusted nothing.
    """

    rule: str
    numbers: str
    refusal: str
    before: str | None
    after: str | None


def lines(story: Story) -> Iterator[str]:
    """Return the story in the order of the pipeline, without the parts that have not happened."""
    yield from _decision(story.request)
    yield from _ess(story)
    yield from _guard(story)
    for order in story.orders:
        yield _order(order)
    for fill in story.fills:
        yield _fill(fill)
    if story.trade:
        yield from _books(story.trade)
    yield from _steps(story)
    yield from _events(story)
    yield _line("Result", f"{story.request.state} {story.request.reason}".rstrip())


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The lines of a story that belong under one head."""

    head: str
    lines: tuple[str, ...]


def chapters(story: Story) -> list[Chapter]:
    """Return the lines of a story by their heads, for pages that set them apart."""
    found: list[Chapter] = []
    for line in lines(story):
        head, text = line[:HEAD_WIDTH].strip(), line[HEAD_WIDTH + 1 :].strip()
        if head:
            found.append(Chapter(head=head, lines=(text,)))
        else:
            found[-1] = replace(found[-1], lines=(*found[-1].lines, text))
    return found


def _line(head: str, text: str) -> str:
    return f"{head:<{HEAD_WIDTH}} {text}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _known(**numbers: Decimal | None) -> str:
    """Return `name=number` for the numbers that there are."""
    return " ".join(f"{name}={plain(number)}" for name, number in numbers.items() if number is not None)


def _step(story: Story, triggers: frozenset[RequestTrigger]) -> AuditEvent | None:
    return next((step for step in story.transitions if step.entity == "request" and step.trigger in triggers), None)


def _decision(request: ExecutionRequest) -> Iterator[str]:
    asked = _known(
        notional_usd=request.notional_usd,
        quantity=request.base_quantity_asked,
        limit=request.limit_price_asked,
        expected=request.expected_price,
        stop=request.stop_price_asked,
        target=request.target_price_asked,
        confidence=request.confidence,
    )
    if request.size_amount is not None:
        asked = f"{request.size_measure.lower()}={plain(request.size_amount)} {asked}"
    asked += "".join(
        f" {name}={measure}:{amount}"
        for name in ("stop", "target")
        for measure, amount in request.exits_asked.get(name, {}).items()
    )
    kind = " ".join(filter(None, (request.symbol, request.direction, request.order_type, request.time_in_force)))
    yield _line("Decision", f"{kind} {asked} leverage={request.leverage}")
    origin = f"{request.source} identity={request.inbox.identity} received {_time(request.received_at)}"
    yield _line("", f"from {origin}" + (f" model={request.model}" if request.model else ""))


def _ess(story: Story) -> Iterator[str]:
    step = _step(story, ESS_STEPS)
    if step:
        details = step.details
        verdict = "permitted" if details.get("permitted") else "BLOCKED"
        age = details.get("ess_age_seconds")
        aged = "" if age is None else f" age={age:.1f}s"
        yield _line("ESS", f"{verdict}: state={details.get('ess_state')}{aged} ({details.get('evidence')})")


def _guard(story: Story) -> Iterator[str]:
    step = _step(story, GUARD_STEPS)
    if not step:
        return
    request = story.request
    numbers = _known(
        quantity=request.quantity,
        reference=request.reference_price,
        limit=request.limit_price,
        stop=request.stop_price,
        target=request.target_price,
    )
    details = step.details
    approved = step.trigger == RequestTrigger.GUARD_APPROVED
    version = f" policy_version={details['policy_version']}" if "policy_version" in details else ""
    age = details.get("policy_age_seconds")
    aged = "" if age is None else f" policy_age={age:.0f}s"
    yield _line("Guard", (f"approved: {numbers}" if approved else f"DENIED: {step.reason}") + version + aged)
    yield from _seen(details)
    for rule in details.get("rules", ()):
        yield _line("", _rule(rule))


def _seen(details: Mapping[str, Any]) -> Iterator[str]:
    """Return the market and the use of the limits that the guard has judged by."""
    if quote := details.get("inputs", {}).get("quote"):
        sides = " ".join(f"{side[:-1]}={_best(quote[side])}" for side in ("bids", "asks") if quote.get(side))
        yield _line("", f"saw the book {sides} mark={_shorter(quote['mark'])}")
    if usage := details.get("usage"):
        used = " ".join(f"{name}={_figure(value)}" for name, value in sorted(usage.items()) if value not in (None, ""))
        yield _line("", f"used of limits: {used}")


def _best(levels: Sequence[Sequence[str]]) -> str:
    """Return the best level, and over how many the side was read."""
    price, quantity = levels[0]
    deeper = f" of {len(levels)} levels" if len(levels) > 1 else ""
    return f"{_shorter(quantity)}@{_shorter(price)}{deeper}"


def _figure(value: object) -> str:
    """Return a figure of the journal, where exact amounts are text, and so are ids."""
    text = str(value)
    return _shorter(text) if text.lstrip("-").replace(".", "", 1).isdigit() else text


def _rule(rule: RecordedRule) -> str:
    verdict = rule["refusal"] or "ok"
    if rule["after"] is not None:
        verdict = f"adjusted {_shorter(rule['before'])} -> {_shorter(rule['after'])}"
    return f"  {rule['rule']:<24} {rule['numbers']}  {verdict}"


def _shorter(number: str | None) -> str:
    return "none" if number is None else plain(Decimal(number))


def _order(order: Order) -> str:
    ids = f"client_id={order.client_order_id}"
    ids += f" order_id={order.exchange_order_id}" if order.exchange_order_id else ""
    ids += f" algo_id={order.algo_id}" if order.algo_id else ""
    numbers = _known(quantity=order.quantity, price=order.price, trigger=order.trigger_price)
    state = f"{order.state} executed={plain(order.executed_quantity)} attempts={order.attempts}"
    error = f" error_code={order.error_code}" if order.error_code is not None else ""
    kind = " ".join(filter(None, (order.side, order.order_type, order.time_in_force)))
    return _line(order.purpose.capitalize(), f"{kind} {numbers} {state}{error} {ids}")


def _fill(fill: Fill) -> str:
    whose = fill.order.purpose.lower() if fill.order else "not ours"
    numbers = f"{plain(fill.quantity)} at {plain(fill.price)}"
    fee = f"fee={plain(fill.commission)} {fill.commission_asset} realized_pnl={plain(fill.realized_pnl)}"
    return _line("Fill", f"{whose}: {numbers} {fee} order_id={fill.exchange_order_id} {_time(fill.filled_at)}")


def _books(trade: Trade) -> Iterator[str]:
    slippage = (
        f"slippage={plain(basis_points(trade.slippage_fraction))}bps margin={plain(trade.margin)} {trade.quote_asset}"
    )
    yield _line("Opened", f"{plain(trade.quantity)} at {plain(trade.entry_price)} {slippage} {_time(trade.entry_at)}")
    if trade.exit_at is None or trade.exit_price is None:
        return
    yield _line("Closed", f"{trade.close_reason} at {plain(trade.exit_price)} {_time(trade.exit_at)}")
    fees = f"fees={plain(trade.entry_fees + trade.exit_fees)} funding={plain(trade.funding)}"
    ratios = _known(pnl_percent=_rounded(trade.pnl_percent), r_multiple=_rounded(trade.r_multiple))
    asset = trade.quote_asset
    yield _line("PnL", f"{_known(gross_pnl=trade.gross_pnl)} {fees} {_known(net_pnl=trade.net_pnl)} {asset} {ratios}")
    if trade.quote_index is not None:
        usd = _known(pnl_usd=trade.net_pnl_usd)
        yield _line("", f"{usd} at quote_index={asset}USD {plain(trade.quote_index)}")
    if not trade.net_is_complete:
        parts = " ".join(f"{asset}={amount}" for asset, amount in _unvalued(trade))
        yield _line("", f"net is incomplete without {parts}: limits count {plain(trade.assumed_cost)} for it")


def _unvalued(trade: Trade) -> Iterator[tuple[str, str]]:
    yield from ((f"fees {asset}", amount) for asset, amount in trade.unvalued_fees.items())
    yield from ((f"income {asset}", amount) for asset, amount in trade.unvalued_income.items())


def _rounded(ratio: Decimal | None) -> Decimal | None:
    return None if ratio is None else round(ratio, 4)


def _steps(story: Story) -> Iterator[str]:
    for number, step in enumerate(story.transitions):
        way = f"{step.from_state} -> {step.to_state}" if step.from_state else step.to_state
        what = step.entity if step.entity != "order" else f"order {step.entity_id}"
        reason = f"  {_leg(step.details)}{step.reason or step.reason_code}".rstrip()
        yield _line("" if number else "Steps", f"{_time(step.at)} {what}: {way} ({step.trigger}){reason}")


def _leg(details: Mapping[str, object]) -> str:
    """Return which leg of the bracket moved, from where to where, and which operator moved it."""
    if "purpose" not in details or "to" not in details:
        return ""
    who = f" by {details['operator']}" if details.get("operator") else ""
    return f"{details['purpose']} {details['number']}: {details['from']} -> {details['to']}{who} "


def _events(story: Story) -> Iterator[str]:
    """Return every event but `position.updated`, which comes with each monitor cycle: those are counted."""
    shown = [event for event in story.events if event.event_type != POSITION_UPDATED]
    for number, event in enumerate(shown):
        sent = f"sent {_time(event.sent_at)}" if event.sent_at else "not sent yet"
        yield _line("" if number else "Events", f"{event.sequence} {event.event_type} {event.event_id} {sent}")
    if repeated := len(story.events) - len(shown):
        yield _line("", f"and {repeated} {POSITION_UPDATED}")
