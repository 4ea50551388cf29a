"""What an entry that was approved under an older policy is asked before it leaves: the guard's rules, by the new one.

It is pure but for what is used of the limits: book and filters are those that the guard saw and wrote down, so nobody
outside is asked. The entry leaves with the numbers that the policy in force gives it, or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execution.domain.limits import judge_limits
from execution.domain.policy import Policy
from execution.domain.ports import EntryBlock
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.safety import Verdict
from execution.domain.states import RequestTrigger
from execution.domain.trading import PositionSide
from execution.models import AuditEvent, ExecutionRequest, PolicyValue
from execution.risk.decision_snapshot import impact_of, plain_fields, plain_policy, replay_verdict
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force
from execution.risk.proposal import as_json, proposal_of
from execution.store.transitions import log_step

# The version of the policy in force; a request carries the one that it was approved with.
POLICY_VERSION = "(SELECT COALESCE(max(version), 0) FROM execution_policyvalue)"
RENEWED = "policy_renewed"


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What the policy in force says of an approved entry: why it must not leave, if so, and every rule's verdict."""

    veto: EntryBlock | None
    details: Mapping[str, Any]


def policy_is_newer(request: ExecutionRequest) -> bool:
    """Whether the policy has changed since this request was approved."""
    return PolicyValue.objects.filter(version__gt=approved_with(request)).exists()


def approved_with(request: ExecutionRequest) -> int:
    return request.policy_version or 0


def renew_approval(request: ExecutionRequest, *, now: datetime) -> Renewal:
    """Judge an approved entry by the policy in force; when it passes, it is approved with that one.

    Of the limits only what was approved before this entry counts as used: when a lower limit leaves room for some of
    those on their way, the first of them leave, and not none.
    """
    policy = policy_in_force()
    rules, details = _judged(request, policy, now)
    refused = next((rule for rule in rules if rule.refusal), None)
    if refused and refused.refusal:
        versions = f"policy_version={policy.version} approved_with={approved_with(request)}"
        return Renewal(veto=EntryBlock(code=refused.refusal, sentence=f"{refused.numbers} {versions}"), details=details)
    state = request.state
    log_step("request", request.pk, from_state=state, to_state=state, trigger=RENEWED, now=now, details=details)
    ExecutionRequest.objects.filter(pk=request.pk).update(policy_version=policy.version)
    request.policy_version = policy.version
    return Renewal(veto=None, details=details)


def _judged(
    request: ExecutionRequest, policy: Policy, now: datetime
) -> tuple[tuple[RuleVerdict, ...], Mapping[str, Any]]:
    """Return every rule's verdict by this policy, and the line for the journal, from which it can be judged again."""
    seen = _seen_by_the_guard(request)
    if "inputs" not in seen:
        unknown = RuleVerdict(rule="policy_change", numbers="inputs=none", refusal=Reason.POLICY_CHANGED)
        return (unknown,), {"rules": [as_json(unknown)], "policy_version": policy.version}
    proposal = proposal_of(request)
    before, after = replay_verdict(proposal, seen), replay_verdict(proposal, seen, policy=policy)
    usage = usage_for(request, PositionSide(request.position_side), policy, now=now)
    rules = (*after.rules, *judge_limits(impact_of(proposal, after), usage, policy), _same_numbers(before, after))
    return rules, {
        "rules": [as_json(rule) for rule in rules],
        "policy_version": policy.version,
        "inputs": seen["inputs"] | {"policy": plain_policy(policy)},
        "usage": plain_fields(usage),
    }


def _seen_by_the_guard(request: ExecutionRequest) -> Mapping[str, Any]:
    story = AuditEvent.objects.filter(entity="request", entity_id=str(request.pk))
    approval = story.filter(trigger=RequestTrigger.GUARD_APPROVED).last()
    return approval.details if approval else {}


def _same_numbers(before: Verdict, after: Verdict) -> RuleVerdict:
    """Compare what was approved with what would be now: size, limit price, exits."""
    changed = [name for name in ("quantity", "limit_price", "exits") if getattr(before, name) != getattr(after, name)]
    numbers = f"changed={','.join(changed) or 'none'}"
    if before.quantity != after.quantity:
        numbers += f" quantity={before.quantity:f}->{after.quantity:f}"
    if before.stop_price != after.stop_price:
        numbers += f" stop={before.stop_price:f}->{after.stop_price:f}"
    return RuleVerdict(rule="policy_change", numbers=numbers, refusal=Reason.POLICY_CHANGED if changed else None)
