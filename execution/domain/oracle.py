"""The invariants that a running service checks, and when a finding becomes a violation. Pure.

A reconciliation cycle sees many things in the middle of a change: a stop that is being replaced, a fill that is not
booked yet. A finding becomes a violation when it is there in two successive cycles, for at least `CONFIRMED_AFTER`,
while nothing has moved on its symbol and side. On a side that never rests it becomes one after `RESTLESS_AFTER`. Cycles
that are further apart than `NEAR` are not successive, and a finding begins anew.

The tests have judges of their own, which share no line with this rule.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from execution.domain.json_values import JsonValue

# The counter of violations, by kind, in the figures of all processes.
VIOLATIONS = "oracle_violations"
# What the service promises a position and its books after any single fault.
CONFIRMED_AFTER = timedelta(seconds=5)
RESTLESS_AFTER = timedelta(minutes=5)
# Six cycles.
NEAR = timedelta(minutes=1)
# Symbol and position side: one position at the venue.
Side = tuple[str, str]


class Kind(StrEnum):
    """Every invariant that can be broken. The value is the metric's label."""

    COVER_SHORT = "cover_short"
    COVER_EXCESS = "cover_excess"
    TARGETS_EXCEED_POSITION = "targets_exceed_position"
    EXIT_SIDE = "exit_side"
    EXIT_NOT_REDUCING = "exit_not_reducing"
    EXIT_TRIGGER_TYPE = "exit_trigger_type"
    STOP_PRICE = "stop_price"
    SIGN_FLIPPED = "sign_flipped"
    BOOKS_DIFFER = "books_differ"
    ORDER_WITHOUT_POSITION = "order_without_position"
    ORDER_WITHOUT_INTENT = "order_without_intent"
    ENTRIES_DOUBLED = "entries_doubled"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One invariant that does not hold at one moment.

    `subject` is a trade's id or an order's client id.

    `numbers` are what was expected and what is there, in the base asset or the quote asset.
    """

    kind: Kind
    symbol: str
    position_side: str
    subject: str
    numbers: str

    @property
    def key(self) -> str:
        return f"{self.kind} {self.symbol} {self.position_side} {self.subject}"

    @property
    def side(self) -> Side:
        return self.symbol, self.position_side

    @property
    def sentence(self) -> str:
        return f"{self.symbol} {self.position_side} {self.kind} {self.subject}: {self.numbers}"


@dataclass(frozen=True, kw_only=True)
class OpenFinding:
    """A finding that goes on: since when, since when undisturbed, and whether it is a violation.

    `picture` is what its symbol and side looked like at the last reading, which was at `seen_at`.
    """

    finding: Finding
    first_at: datetime
    at_rest_since: datetime
    seen_at: datetime
    picture: str
    stands: bool = False

    def is_violation(self, now: datetime) -> bool:
        at_rest = now - self.at_rest_since >= CONFIRMED_AFTER
        return self.stands or at_rest or now - self.first_at >= RESTLESS_AFTER

    def as_json(self) -> dict[str, JsonValue]:
        """Return it as the next cycle's process reads it."""
        return {
            **asdict(self.finding),
            "first_at": self.first_at.isoformat(),
            "at_rest_since": self.at_rest_since.isoformat(),
            "seen_at": self.seen_at.isoformat(),
            "picture": self.picture,
            "stands": self.stands,
        }

    @classmethod
    def of_json(cls, row: Mapping[str, object]) -> Self:
        """Read what `as_json` has written.

        Raises:
            KeyError, ValueError: it is something else.

        """
        words = {name: str(row[name]) for name in ("symbol", "position_side", "subject", "numbers")}
        return cls(
            finding=Finding(kind=Kind(str(row["kind"])), **words),
            first_at=datetime.fromisoformat(str(row["first_at"])),
            at_rest_since=datetime.fromisoformat(str(row["at_rest_since"])),
            seen_at=datetime.fromisoformat(str(row["seen_at"])),
            picture=str(row["picture"]),
            stands=bool(row["stands"]),
        )


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What one cycle has made of the findings.

    `going_on`: all that were found again or stand. `raised`: those that became violations. `ended`: violations that are
    gone.
    """

    going_on: tuple[OpenFinding, ...]
    raised: tuple[OpenFinding, ...]
    ended: tuple[OpenFinding, ...]

    @property
    def standing(self) -> list[OpenFinding]:
        return [each for each in self.going_on if each.stands]


def follow(
    before: Iterable[OpenFinding],
    found: Iterable[Finding],
    pictures: Mapping[Side, str],
    *,
    unjudged: Collection[Side],
    now: datetime,
) -> Followed:
    """Compare the findings of this cycle with those of the last one that could judge.

    Args:
        before: what the last cycle has left.
        found: what this cycle finds, on sides that can be judged.
        pictures: positions and resting orders by side, in one text each: another text means that something has moved.
        unjudged: sides that cannot be judged now. A violation there stands, anything less begins anew.
        now: when the exchange was read.

    """
    known = {each.finding.key: each for each in before}
    stood = {key for key, each in known.items() if each.stands}
    here = [_followed(known.get(each.key), each, pictures.get(each.side, ""), now) for each in found]
    keys = {each.finding.key for each in here}
    left = [each for key, each in known.items() if key not in keys and each.stands]
    kept = [each for each in left if each.finding.side in unjudged]
    return Followed(
        going_on=(*here, *kept),
        raised=tuple(each for each in here if each.stands and each.finding.key not in stood),
        ended=tuple(each for each in left if each not in kept),
    )


def _followed(known: OpenFinding | None, finding: Finding, picture: str, now: datetime) -> OpenFinding:
    if known is None or (not known.stands and now - known.seen_at > NEAR):
        return OpenFinding(finding=finding, first_at=now, at_rest_since=now, seen_at=now, picture=picture)
    moved = known.picture != picture
    rest = now if moved else known.at_rest_since
    followed = replace(known, finding=finding, at_rest_since=rest, seen_at=now, picture=picture)
    return replace(followed, stands=followed.is_violation(now))
