"""Control calls on how the exchange itself behaves: its switches, and what becomes of triggers."""

from dataclasses import asdict

from paper_exchange.control import views
from paper_exchange.control.request import Action, Actions, Body, ControlError, ControlRequest, Levers
from paper_exchange.core.assumptions import AssumptionError, assume
from paper_exchange.core.triggers import ACTIONS as TRIGGER_ACTIONS
from paper_exchange.core.triggers import CANCEL_CODES, HOLDING, RELEASES, TriggerRule


def set_assumptions(levers: Levers, request: ControlRequest) -> object:
    """Set switches where the public documentation is silent. Answers all of them."""
    state = levers.exchange.state
    try:
        state.assumptions = assume(state.assumptions, request.body)
    except AssumptionError as error:
        raise ControlError(str(error)) from error
    return asdict(state.assumptions)


def list_assumptions(levers: Levers, _: ControlRequest) -> object:
    return asdict(levers.exchange.state.assumptions)


def add_trigger_rule(levers: Levers, request: ControlRequest) -> object:
    """Let coming triggers hang, rest, expire or be refused."""
    triggers = levers.exchange.state.triggers
    action, release = request.text("action"), str(request.body.get("release", "TRIGGER"))
    for_ms, cancel_code = request.optional_integer("for_ms"), request.optional_integer("cancel_code") or -2011
    times = request.optional_integer("count") if "count" in request.body else 1
    _check_words(action, release, cancel_code)
    if times is not None and times < 1:
        raise ControlError("count must be a positive integer, or null for ever")
    if for_ms is not None and (for_ms < 1 or action not in HOLDING):
        raise ControlError(f"for_ms is a positive time of {' and '.join(sorted(HOLDING))}")
    rule = TriggerRule(
        id=str(request.body.get("id") or f"trigger-{len(triggers.rules) + 1}"),
        action=action,
        symbol=request.optional_text("symbol"),
        key=request.optional_text("key"),
        order=request.optional_text("order"),
        left=times,
        for_ms=for_ms,
        release=release,
        reason=request.optional_text("reason") or "margin not enough",
        cancel_code=cancel_code,
    )
    triggers.add(rule)
    return _rule_view(rule)


def list_trigger_rules(levers: Levers, _: ControlRequest) -> object:
    triggers = levers.exchange.state.triggers
    return {
        "rules": [_rule_view(rule) for rule in triggers.rules],
        "held": [{**views.algo(hold.algo), "until": hold.until} for hold in triggers.held],
    }


def remove_trigger_rules(levers: Levers, _: ControlRequest) -> object:
    return {"removed": levers.exchange.state.triggers.remove()}


def release_triggers(levers: Levers, request: ControlRequest) -> object:
    """Let one held order go on now, or all of them."""
    holds = list(levers.exchange.state.triggers.let_go(request.optional_text("order")))
    for hold in holds:
        levers.exchange.algos.let_go(hold)
    return {"released": [views.algo(hold.algo) for hold in holds]}


def _check_words(action: str, release: str, cancel_code: int) -> None:
    if action not in TRIGGER_ACTIONS:
        raise ControlError(f"action must be one of {', '.join(sorted(TRIGGER_ACTIONS))}")
    if release not in RELEASES:
        raise ControlError(f"release must be one of {', '.join(sorted(RELEASES))}")
    if cancel_code not in CANCEL_CODES:
        raise ControlError(f"cancel_code must be one of {', '.join(map(str, sorted(CANCEL_CODES)))}")


def _rule_view(rule: TriggerRule) -> Body:
    row: Body = asdict(rule)
    row["count"] = row.pop("left")
    return row


ACTIONS: Actions = {
    ("POST", "/paper/assumptions"): Action(run=set_assumptions),
    ("GET", "/paper/assumptions"): Action(run=list_assumptions, changes=False),
    ("GET", "/paper/triggers"): Action(run=list_trigger_rules, changes=False),
    ("POST", "/paper/triggers"): Action(run=add_trigger_rule),
    ("DELETE", "/paper/triggers"): Action(run=remove_trigger_rules),
    ("POST", "/paper/triggers/release"): Action(run=release_triggers),
}
