"""Switches for what the exchange's public documentation leaves open, each with a default.

A switch is set at the start (`--assume NAME=VALUE`) or while the exchange runs (`POST /paper/assumptions`). The page
`docs/paper-exchange.md` gives the source of each default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final


class AssumptionError(ValueError):
    """A switch that does not exist, or a value that it does not have."""


def _switch(*values: str) -> str:
    """Return the field of a switch. Its first value is the default."""
    found: str = field(default=values[0], metadata={"values": values})
    return found


def _flag(*, default: bool) -> bool:
    """Return the field of a switch that is on or off."""
    words = ("true", "false") if default else ("false", "true")
    found: bool = field(default=default, metadata={"values": words})
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
    # What happens to a reduce-only order when resting ones already cover the position.
    reducing: str = _switch("refuse_2022", "refuse_4118", "trim")
    # Whether orders that come from triggers are held to that as well; those of closePosition never are.
    reducing_at_trigger: bool = _flag(default=False)
    # Whether the minimum notional spares the closing side of hedge mode, which carries no reduceOnly.
    hedge_close_spared: bool = _flag(default=True)
    # How a closePosition order ends that finds no position at its trigger.
    close_without_position: str = _switch("expire", "reject")
    # Whether countdownCancelAll cancels conditional orders too.
    countdown_conditional: bool = _flag(default=False)
    # Whether leverageBracket of one symbol is a bare object instead of a list.
    bracket_bare: bool = _flag(default=False)
    # Whether a user stream whose key stands in the path, so without `events`, connects and sends nothing.
    user_path_silent: bool = _flag(default=True)
    # Whether openAlgoOrders lists a conditional order that hangs in TRIGGERING.
    stuck_listed: bool = _flag(default=True)
    # Whether what closePosition closes is held against the largest MARKET quantity.
    close_position_limited: bool = _flag(default=True)
    # Whether position risk control refuses conditional orders when they are placed, not only when they trigger.
    control_conditional: bool = _flag(default=True)
    # Whether timeInForce of a contract that takes RPI orders names RPI.
    rpi_in_times: bool = _flag(default=True)
    # Whether assetIndex has a row for credits (BNFCR).
    credits_listed: bool = _flag(default=True)


SWITCHES: Final[dict[str, tuple[str, ...]]] = {row.name: row.metadata["values"] for row in fields(Assumptions)}


def assume(known: Assumptions, wanted: Mapping[str, object]) -> Assumptions:
    """Return assumptions with some switches set. AssumptionError names what does not exist."""
    changes: dict[str, Any] = {name: _read(name, value) for name, value in wanted.items()}
    return replace(known, **changes)


def _read(name: str, value: object) -> object:
    """Read a switch's value. One that is on or off is a boolean or, from a command line, a word."""
    if name not in SWITCHES:
        raise AssumptionError(f"no switch {name}: there are {', '.join(SWITCHES)}")
    is_flag = set(SWITCHES[name]) == {"true", "false"}
    word = str(value).lower() if is_flag and isinstance(value, bool | str) else value
    if word not in SWITCHES[name]:
        raise AssumptionError(f"{name} must be one of {', '.join(SWITCHES[name])}")
    return word == "true" if is_flag else word
