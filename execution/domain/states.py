"""Every life cycle as one table of (state, trigger) -> state. Other pairs never happen."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar


class RequestState(StrEnum):
    """Where a decision stands on its way to a recorded trade."""

    RECEIVED = "RECEIVED"
    CLEARED = "CLEARED"
    APPROVED = "APPROVED"
    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    FILLED = "FILLED"
    PROTECTED = "PROTECTED"
    FLATTENED = "FLATTENED"
    RECORDED = "RECORDED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"
    NOT_ACCEPTED = "NOT_ACCEPTED"
    WRITTEN_OFF = "WRITTEN_OFF"


class RequestTrigger(StrEnum):
    """What moves a request on."""

    ESS_CLEARED = "ess_cleared"
    ESS_BLOCKED = "ess_blocked"
    GUARD_APPROVED = "guard_approved"
    GUARD_DENIED = "guard_denied"
    SUBMISSION_STARTED = "submission_started"
    EXCHANGE_ACCEPTED = "exchange_accepted"
    EXCHANGE_REJECTED = "exchange_rejected"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ABSENCE_PROVEN = "absence_proven"
    ENTRY_FILLED = "entry_filled"
    ENTRY_ENDED_EMPTY = "entry_ended_empty"
    COVER_CONFIRMED = "cover_confirmed"
    POSITION_FLATTENED = "position_flattened"
    FILLS_BOOKED = "fills_booked"
    AGE_EXCEEDED = "age_exceeded"
    WRITTEN_OFF = "written_off"


class OrderState(StrEnum):
    """Where one order stands, by evidence of the exchange."""

    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    NOT_ACCEPTED = "NOT_ACCEPTED"
    WRITTEN_OFF = "WRITTEN_OFF"


class OrderTrigger(StrEnum):
    """Evidence about one order."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ABSENCE_PROVEN = "absence_proven"
    CONDITION_MET = "condition_met"
    PART_FILLED = "part_filled"
    ALL_FILLED = "all_filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    ENDED_UNSEEN = "ended_unseen"
    WRITTEN_OFF = "written_off"


class TradeState(StrEnum):
    """Where a trade stands, by its booked fills.

    WRITTEN_OFF: an operator has ended it without its last ones.
    """

    OPEN = "OPEN"
    REDUCED = "REDUCED"
    CLOSED = "CLOSED"
    WRITTEN_OFF = "WRITTEN_OFF"


class TradeTrigger(StrEnum):
    """What booked fills mean for a trade, and an operator's word that they will never be found."""

    PART_EXITED = "part_exited"
    ALL_EXITED = "all_exited"
    ENTRY_GREW = "entry_grew"
    WRITTEN_OFF = "written_off"


R, RT = RequestState, RequestTrigger
D, DT = OrderState, OrderTrigger
T, TT = TradeState, TradeTrigger

REQUEST_STATES: Mapping[tuple[RequestState, RequestTrigger], RequestState] = MappingProxyType(
    {
        (R.RECEIVED, RT.ESS_CLEARED): R.CLEARED,
        (R.RECEIVED, RT.ESS_BLOCKED): R.DENIED,
        (R.RECEIVED, RT.AGE_EXCEEDED): R.EXPIRED,
        (R.CLEARED, RT.GUARD_APPROVED): R.APPROVED,
        (R.CLEARED, RT.GUARD_DENIED): R.DENIED,
        (R.CLEARED, RT.AGE_EXCEEDED): R.EXPIRED,
        (R.APPROVED, RT.SUBMISSION_STARTED): R.SUBMITTING,
        # Between the guard and the wire a trip may arrive, or the exchange may refuse the leverage.
        (R.APPROVED, RT.ESS_BLOCKED): R.DENIED,
        (R.APPROVED, RT.GUARD_DENIED): R.DENIED,
        (R.APPROVED, RT.AGE_EXCEEDED): R.EXPIRED,
        (R.SUBMITTING, RT.EXCHANGE_ACCEPTED): R.ACCEPTED,
        (R.SUBMITTING, RT.EXCHANGE_REJECTED): R.REJECTED,
        (R.SUBMITTING, RT.OUTCOME_UNKNOWN): R.UNKNOWN,
        # UNKNOWN ends by evidence only; no clock alone leads out of it.
        (R.UNKNOWN, RT.EXCHANGE_ACCEPTED): R.ACCEPTED,
        (R.UNKNOWN, RT.ABSENCE_PROVEN): R.NOT_ACCEPTED,
        (R.ACCEPTED, RT.ENTRY_FILLED): R.FILLED,
        (R.ACCEPTED, RT.ENTRY_ENDED_EMPTY): R.CANCELED,
        (R.FILLED, RT.COVER_CONFIRMED): R.PROTECTED,
        (R.FILLED, RT.POSITION_FLATTENED): R.FLATTENED,
        (R.PROTECTED, RT.FILLS_BOOKED): R.RECORDED,
        (R.FLATTENED, RT.FILLS_BOOKED): R.RECORDED,
        # The exchange denies all of it, and an operator has decided that it will stay so.
        (R.SUBMITTING, RT.WRITTEN_OFF): R.WRITTEN_OFF,
        (R.UNKNOWN, RT.WRITTEN_OFF): R.WRITTEN_OFF,
        (R.ACCEPTED, RT.WRITTEN_OFF): R.WRITTEN_OFF,
        (R.FILLED, RT.WRITTEN_OFF): R.WRITTEN_OFF,
        (R.PROTECTED, RT.WRITTEN_OFF): R.WRITTEN_OFF,
        (R.FLATTENED, RT.WRITTEN_OFF): R.WRITTEN_OFF,
    }
)

ORDER_STATES: Mapping[tuple[OrderState, OrderTrigger], OrderState] = MappingProxyType(
    {
        (D.SUBMITTING, DT.ACCEPTED): D.ACCEPTED,
        (D.SUBMITTING, DT.REJECTED): D.REJECTED,
        (D.SUBMITTING, DT.OUTCOME_UNKNOWN): D.UNKNOWN,
        (D.UNKNOWN, DT.ACCEPTED): D.ACCEPTED,
        (D.UNKNOWN, DT.ABSENCE_PROVEN): D.NOT_ACCEPTED,
        (D.ACCEPTED, DT.PART_FILLED): D.PARTIALLY_FILLED,
        (D.ACCEPTED, DT.ALL_FILLED): D.FILLED,
        (D.ACCEPTED, DT.CANCELED): D.CANCELED,
        (D.ACCEPTED, DT.EXPIRED): D.EXPIRED,
        (D.ACCEPTED, DT.CONDITION_MET): D.TRIGGERED,
        # The exchange may still refuse a conditional order when it triggers (reduce-only without a position).
        (D.ACCEPTED, DT.REJECTED): D.REJECTED,
        # The exchange has forgotten it, as it does with what ended without a fill, and nothing speaks against its end.
        (D.ACCEPTED, DT.ENDED_UNSEEN): D.CANCELED,
        (D.PARTIALLY_FILLED, DT.PART_FILLED): D.PARTIALLY_FILLED,
        (D.PARTIALLY_FILLED, DT.ALL_FILLED): D.FILLED,
        (D.PARTIALLY_FILLED, DT.CANCELED): D.CANCELED,
        (D.PARTIALLY_FILLED, DT.EXPIRED): D.EXPIRED,
        (D.PARTIALLY_FILLED, DT.ENDED_UNSEEN): D.CANCELED,
        (D.TRIGGERED, DT.PART_FILLED): D.TRIGGERED,
        (D.TRIGGERED, DT.ALL_FILLED): D.FILLED,
        (D.TRIGGERED, DT.CANCELED): D.CANCELED,
        (D.TRIGGERED, DT.EXPIRED): D.EXPIRED,
        (D.TRIGGERED, DT.REJECTED): D.REJECTED,
        (D.TRIGGERED, DT.ENDED_UNSEEN): D.CANCELED,
        (D.SUBMITTING, DT.WRITTEN_OFF): D.WRITTEN_OFF,
        (D.UNKNOWN, DT.WRITTEN_OFF): D.WRITTEN_OFF,
        (D.ACCEPTED, DT.WRITTEN_OFF): D.WRITTEN_OFF,
        (D.PARTIALLY_FILLED, DT.WRITTEN_OFF): D.WRITTEN_OFF,
        (D.TRIGGERED, DT.WRITTEN_OFF): D.WRITTEN_OFF,
    }
)

TRADE_STATES: Mapping[tuple[TradeState, TradeTrigger], TradeState] = MappingProxyType(
    {
        (T.OPEN, TT.PART_EXITED): T.REDUCED,
        (T.OPEN, TT.ALL_EXITED): T.CLOSED,
        (T.REDUCED, TT.PART_EXITED): T.REDUCED,
        (T.REDUCED, TT.ALL_EXITED): T.CLOSED,
        # A fill of the entry that the exchange showed after the books were closed.
        (T.CLOSED, TT.ENTRY_GREW): T.REDUCED,
        (T.OPEN, TT.WRITTEN_OFF): T.WRITTEN_OFF,
        (T.REDUCED, TT.WRITTEN_OFF): T.WRITTEN_OFF,
    }
)

REQUEST_FINAL = frozenset({R.RECORDED, R.DENIED, R.REJECTED, R.EXPIRED, R.CANCELED, R.NOT_ACCEPTED, R.WRITTEN_OFF})
REQUEST_BEFORE_WIRE = frozenset({R.RECEIVED, R.CLEARED, R.APPROVED})
# Filled, and on its way to protection and books.
REQUEST_UNBOOKED = frozenset({R.FILLED, R.PROTECTED, R.FLATTENED})
ORDER_FINAL = frozenset({D.FILLED, D.CANCELED, D.EXPIRED, D.REJECTED, D.NOT_ACCEPTED, D.WRITTEN_OFF})
ORDER_UNSETTLED = frozenset({D.SUBMITTING, D.UNKNOWN})
ORDER_LIVE = frozenset({D.ACCEPTED, D.PARTIALLY_FILLED, D.TRIGGERED})
TRADE_OPEN = frozenset({T.OPEN, T.REDUCED})
# Nothing of it is held any more, with books or without.
TRADE_OVER = frozenset({T.CLOSED, T.WRITTEN_OFF})

S = TypeVar("S", bound=StrEnum)
G = TypeVar("G", bound=StrEnum)


class ImpossibleTransitionError(Exception):
    """A trigger has no row for the state: a fault here, or new behaviour of the exchange."""


def next_state(table: Mapping[tuple[S, G], S], state: S, trigger: G) -> S:
    """Return the state that follows.

    Raises:
        ImpossibleTransitionError: the table has no such pair.

    """
    following = table.get((state, trigger))
    if following is None:
        raise ImpossibleTransitionError(f"IMPOSSIBLE_TRANSITION: state={state} trigger={trigger}")
    return following
