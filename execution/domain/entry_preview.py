"""The verdicts of a preview: what each rule makes of a decision that is not carried out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict


class Layer(StrEnum):
    """What asks, in the order of the chain."""

    AGE = "age"
    ESS = "ess"
    GATE = "gate"
    GUARD = "guard"
    LIMITS = "limits"


class RuleFinding(StrEnum):
    """What a rule makes of the decision.

    WAITS: the decision stays where it is until the block ends or it is too old.
    """

    PASSED = "passed"
    ADJUSTED = "adjusted"
    REFUSED = "refused"
    WAITS = "waits"


class Outlook(StrEnum):
    """What would become of the decision."""

    APPROVED = "approved"
    DENIED = "denied"
    WAITS = "waits"


@dataclass(frozen=True, kw_only=True)
class PreviewedRule:
    """One rule's verdict. `before` and `after` are set where it adjusts a number."""

    layer: Layer
    rule: str
    finding: RuleFinding
    numbers: str
    code: Reason | None = None
    before: Decimal | None = None
    after: Decimal | None = None


def judged(layer: Layer, verdicts: Iterable[RuleVerdict]) -> Iterator[PreviewedRule]:
    """Yield the verdicts of one layer as a preview shows them."""
    for verdict in verdicts:
        adjusted = RuleFinding.PASSED if verdict.after is None else RuleFinding.ADJUSTED
        yield PreviewedRule(
            layer=layer,
            rule=verdict.rule,
            finding=RuleFinding.REFUSED if verdict.refusal else adjusted,
            numbers=verdict.numbers,
            code=verdict.refusal,
            before=verdict.before,
            after=verdict.after,
        )
