"""Judges an entry that was approved under an older policy anew, by the policy in force.

Only the usage of the limits is read anew. Order book and filters come from the guard's line in the journal, so
the exchange is not called. The entry leaves with the same numbers as approved, or not at all.
"""

from dataclasses import dataclass
from datetime import datetime

from execution.domain.json_values import JsonObject, JsonValue
from execution.domain.limits import judge_limits
from execution.domain.policy import Policy
from execution.domain.ports import EntryBlock
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.safety import Verdict
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest
from execution.risk.decision_snapshot import KeptDetails, impact_of, plain_fields, plain_policy, replay_verdict
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force
from execution.risk.proposal import as_json, proposal_of
from execution.store.policy import policy_is_newer_than
from execution.store.requests import approval_line, save_policy_version
from execution.store.transitions import log_step

RENEWED = "policy_renewed"


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The policy's verdict on an approved entry: why it must not leave, and every rule."""

    block: EntryBlock | None
    details: JsonObject


def policy_is_newer(request: ExecutionRequest) -> bool:
    """Whether the policy has changed since this request was approved."""
    return policy_is_newer_than(approved_with(request))


def approved_with(request: ExecutionRequest) -> int:
    return request.policy_version or 0


def renew_approval(request: ExecutionRequest, *, now: datetime) -> Renewal:
    """Judge an approved entry by the policy in force, and approve it with that policy when it passes.

    Of the limits only what was approved before this entry counts as used. When a lower limit leaves room for some of
    the approved entries, the first of them leave.
    """
    policy = policy_in_force()
    rules, details = _judge_anew(request, policy, now)
    refused = next((rule for rule in rules if rule.refusal), None)
    if refused and refused.refusal:
        versions = f"policy_version={policy.version} approved_with={approved_with(request)}"
        return Renewal(
            block=EntryBlock(code=refused.refusal, sentence=f"{refused.numbers} {versions}"), details=details
        )
    state = request.state
    log_step("request", request.pk, from_state=state, to_state=state, trigger=RENEWED, now=now, details=details)
    save_policy_version(request, policy.version)
    return Renewal(block=None, details=details)


def _judge_anew(request: ExecutionRequest, policy: Policy, now: datetime) -> tuple[tuple[RuleVerdict, ...], JsonObject]:
    """Return every rule's verdict by this policy, and details for the journal that a replay can read."""
    approval = approval_line(request)
    if approval is None or "inputs" not in approval.details:
        unknown = RuleVerdict(rule="policy_change", numbers="inputs=none", refusal=Reason.POLICY_CHANGED)
        return (unknown,), {"rules": [as_json(unknown)], "policy_version": policy.version}
    seen: KeptDetails = approval.details
    inputs: dict[str, JsonValue] = approval.details["inputs"]
    proposal = proposal_of(request)
    before, after = replay_verdict(proposal, seen), replay_verdict(proposal, seen, policy=policy)
    usage = usage_for(request, PositionSide(request.position_side), policy, now=now)
    rules = (*after.rules, *judge_limits(impact_of(proposal, after), usage, policy), _same_numbers(before, after))
    return rules, {
        "rules": [as_json(rule) for rule in rules],
        "policy_version": policy.version,
        "inputs": inputs | {"policy": plain_policy(policy)},
        "usage": plain_fields(usage),
    }


def _same_numbers(before: Verdict, after: Verdict) -> RuleVerdict:
    """Refuse when size, limit price or exits would be other ones than approved."""
    changed = [name for name in ("quantity", "limit_price", "exits") if getattr(before, name) != getattr(after, name)]
    numbers = f"changed={','.join(changed) or 'none'}"
    if before.quantity != after.quantity:
        numbers += f" quantity={before.quantity:f}->{after.quantity:f}"
    if before.stop_price != after.stop_price:
        numbers += f" stop={before.stop_price:f}->{after.stop_price:f}"
    return RuleVerdict(rule="policy_change", numbers=numbers, refusal=Reason.POLICY_CHANGED if changed else None)
