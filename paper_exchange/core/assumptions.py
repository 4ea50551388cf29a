"""What the exchange's public documentation leaves open: each point is a switch with a default and its other values.

A switch is set at the start (`--assume NAME=VALUE`) or while the exchange runs (`POST /paper/assumptions`). The page
`docs/paper-exchange.md` says of each where its default comes from.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Final


class AssumptionError(ValueError):
    """A switch that does not exist, or a value that it does not have."""


def _switch(*values: str) -> str:
    """Return the field of a switch; its first value is the default."""
    found: str = field(default=values[0], metadata={"values": values})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """One value for each open point."""

    # A page size above the documented most: -1130, or as many rows as the most.
    limit_above_most: str = _switch("refuse", "cap")
    # An incomeType that is in no list: -1130, or an empty page.
    unknown_income_type: str = _switch("refuse", "empty")
    # Which rows a full page keeps when a call gives only a start, only an end, or both.
    page_from_start: str = _switch("oldest", "newest")
    page_to_end: str = _switch("newest", "oldest")
    page_between: str = _switch("oldest", "newest")
    # How far back a call looks that names only an order (userTrades) or only a first id (all lists with ids).
    order_id_reach: str = _switch("week", "all")
    first_id_reach: str = _switch("all", "week")
    # A first id together with times: -1128, or the times are not looked at.
    first_id_with_times: str = _switch("refuse", "ignore")
    # Start and end exactly as far apart as a period that must be "less than" 7 days.
    exact_week: str = _switch("refuse", "serve")
    # Start and end farther apart than a week where no longest period is documented: income, forceOrders, amendments.
    long_span: str = _switch("serve", "refuse")
    # Prefix of the client id of the orders that settle a dated contract, and the type of income of their profit.
    delivery_id: str = _switch("delivery_autoclose", "settlement_autoclose")
    delivery_income: str = _switch("REALIZED_PNL", "DELIVERED_SETTELMENT")


SWITCHES: Final[dict[str, tuple[str, ...]]] = {row.name: row.metadata["values"] for row in fields(Assumptions)}


def assume(known: Assumptions, wanted: dict[str, str]) -> Assumptions:
    """Return assumptions with some switches set; AssumptionError names what does not exist."""
    for name, value in wanted.items():
        if name not in SWITCHES:
            raise AssumptionError(f"no switch {name}: there are {', '.join(SWITCHES)}")
        if value not in SWITCHES[name]:
            raise AssumptionError(f"{name} must be one of {', '.join(SWITCHES[name])}")
    return replace(known, **wanted)
