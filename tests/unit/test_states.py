from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

import pytest

from execution.domain.outcomes import STATUS_TRIGGERS, ExchangeStatus
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_LIVE,
    ORDER_STATES,
    ORDER_UNSETTLED,
    REQUEST_BEFORE_WIRE,
    REQUEST_FINAL,
    REQUEST_STATES,
    TRADE_OPEN,
    TRADE_OVER,
    TRADE_STATES,
    ImpossibleTransitionError,
    OrderState,
    OrderTrigger,
    RequestState,
    RequestTrigger,
    TradeState,
    TradeTrigger,
    next_state,
)

# Written out here as well: whoever changes a life cycle changes it twice, and on purpose.
REQUESTS = """
    RECEIVED   ess_cleared         CLEARED
    RECEIVED   ess_blocked         DENIED
    RECEIVED   age_exceeded        EXPIRED
    CLEARED    guard_approved      APPROVED
    CLEARED    guard_denied       DENIED
    CLEARED    age_exceeded        EXPIRED
    APPROVED   submission_started  SUBMITTING
    APPROVED   ess_blocked         DENIED
    APPROVED   guard_denied       DENIED
    APPROVED   age_exceeded        EXPIRED
    SUBMITTING exchange_accepted   ACCEPTED
    SUBMITTING exchange_rejected    REJECTED
    SUBMITTING outcome_unknown     UNKNOWN
    UNKNOWN    exchange_accepted   ACCEPTED
    UNKNOWN    absence_proven      NOT_ACCEPTED
    ACCEPTED   entry_filled        FILLED
    ACCEPTED   entry_ended_empty   CANCELED
    FILLED     cover_confirmed     PROTECTED
    FILLED     position_flattened  FLATTENED
    PROTECTED  fills_booked        RECORDED
    FLATTENED  fills_booked        RECORDED
    SUBMITTING written_off         WRITTEN_OFF
    UNKNOWN    written_off         WRITTEN_OFF
    ACCEPTED   written_off         WRITTEN_OFF
    FILLED     written_off         WRITTEN_OFF
    PROTECTED  written_off         WRITTEN_OFF
    FLATTENED  written_off         WRITTEN_OFF
"""
ORDERS = """
    SUBMITTING        accepted         ACCEPTED
    SUBMITTING        rejected         REJECTED
    SUBMITTING        outcome_unknown  UNKNOWN
    UNKNOWN           accepted         ACCEPTED
    UNKNOWN           absence_proven   NOT_ACCEPTED
    ACCEPTED          part_filled      PARTIALLY_FILLED
    ACCEPTED          all_filled       FILLED
    ACCEPTED          canceled        CANCELED
    ACCEPTED          expired          EXPIRED
    ACCEPTED          condition_met    TRIGGERED
    ACCEPTED          rejected         REJECTED
    ACCEPTED          ended_unseen     CANCELED
    PARTIALLY_FILLED  part_filled      PARTIALLY_FILLED
    PARTIALLY_FILLED  all_filled       FILLED
    PARTIALLY_FILLED  canceled        CANCELED
    PARTIALLY_FILLED  expired          EXPIRED
    PARTIALLY_FILLED  ended_unseen     CANCELED
    TRIGGERED         part_filled      TRIGGERED
    TRIGGERED         all_filled       FILLED
    TRIGGERED         canceled        CANCELED
    TRIGGERED         expired          EXPIRED
    TRIGGERED         rejected         REJECTED
    TRIGGERED         ended_unseen     CANCELED
    SUBMITTING        written_off      WRITTEN_OFF
    UNKNOWN           written_off      WRITTEN_OFF
    ACCEPTED          written_off      WRITTEN_OFF
    PARTIALLY_FILLED  written_off      WRITTEN_OFF
    TRIGGERED         written_off      WRITTEN_OFF
"""
TRADES = """
    OPEN     part_exited  REDUCED
    OPEN     all_exited   CLOSED
    REDUCED  part_exited  REDUCED
    REDUCED  all_exited   CLOSED
    CLOSED   entry_grew   REDUCED
    OPEN     written_off  WRITTEN_OFF
    REDUCED  written_off  WRITTEN_OFF
"""
S = TypeVar("S", bound=StrEnum)
G = TypeVar("G", bound=StrEnum)
Rows = dict[tuple[str, str], str]


def rows(text: str) -> Rows:
    return {
        (state, trigger): following
        for state, trigger, following in (line.split() for line in text.split("\n") if line.strip())
    }


def walk(table: Mapping[tuple[S, G], S], states: Iterable[S], triggers: Iterable[G]) -> tuple[Rows, int]:
    """Try every pair; return where the possible ones lead and how many are impossible."""
    possible, impossible, every_trigger = {}, 0, list(triggers)
    for state in states:
        for trigger in every_trigger:
            try:
                possible[state.value, trigger.value] = next_state(table, state, trigger).value
            except ImpossibleTransitionError:
                impossible += 1
    return possible, impossible


def test_a_request_moves_only_as_written() -> None:
    possible, impossible = walk(REQUEST_STATES, RequestState, RequestTrigger)

    # It should move exactly as the text above says, and in no other way
    assert possible == rows(REQUESTS)
    assert impossible == 16 * 16 - 27


def test_an_order_moves_only_as_written() -> None:
    possible, impossible = walk(ORDER_STATES, OrderState, OrderTrigger)

    assert possible == rows(ORDERS)
    assert impossible == 11 * 11 - 28


def test_a_trade_moves_only_as_written() -> None:
    possible, impossible = walk(TRADE_STATES, TradeState, TradeTrigger)

    assert possible == rows(TRADES)
    assert impossible == 4 * 4 - 7


@pytest.mark.parametrize(
    ("text", "states", "final"),
    [
        (
            REQUESTS,
            RequestState,
            {"RECORDED", "DENIED", "REJECTED", "EXPIRED", "CANCELED", "NOT_ACCEPTED", "WRITTEN_OFF"},
        ),
        (ORDERS, OrderState, {"FILLED", "CANCELED", "EXPIRED", "REJECTED", "NOT_ACCEPTED", "WRITTEN_OFF"}),
        # A closed trade opens again for a fill of its entry that the exchange showed late.
        (TRADES, TradeState, {"WRITTEN_OFF"}),
    ],
)
def test_final_states_have_no_way_out_and_all_others_have_one(
    text: str, states: type[StrEnum], final: set[str]
) -> None:
    left = {state for state, _ in rows(text)}
    entered = set(rows(text).values())

    # It should leave every state but the final ones
    assert left == {state.value for state in states} - final
    # It should reach every state but the first
    assert {state.value for state in states} - entered == {next(iter(states)).value}


def test_the_named_sets_of_states_are_those_of_the_tables() -> None:
    assert {"RECORDED", "DENIED", "REJECTED", "EXPIRED", "CANCELED", "NOT_ACCEPTED", "WRITTEN_OFF"} == REQUEST_FINAL
    assert {"RECEIVED", "CLEARED", "APPROVED"} == REQUEST_BEFORE_WIRE
    assert {"FILLED", "CANCELED", "EXPIRED", "REJECTED", "NOT_ACCEPTED", "WRITTEN_OFF"} == ORDER_FINAL
    assert {"OPEN", "REDUCED"} == TRADE_OPEN
    assert sorted([*TRADE_OPEN, *TRADE_OVER]) == sorted(TradeState)

    # It should know every order as unsettled, live or final, and none as two of them
    assert sorted([*ORDER_UNSETTLED, *ORDER_LIVE, *ORDER_FINAL]) == sorted(OrderState)


def test_unknown_ends_by_evidence_only() -> None:
    out_of_request = {trigger for state, trigger in rows(REQUESTS) if state == "UNKNOWN"}
    out_of_order = {trigger for state, trigger in rows(ORDERS) if state == "UNKNOWN"}

    # A write-off is an operator's word beside the exchange's denial of all of it.
    assert out_of_request == {"exchange_accepted", "absence_proven", "written_off"}
    assert out_of_order == {"accepted", "absence_proven", "written_off"}


def test_an_order_of_unknown_outcome_can_not_be_sent_again() -> None:
    # It should have no way back to SUBMITTING, whatever arrives
    for trigger in OrderTrigger:
        assert ORDER_STATES.get((OrderState.UNKNOWN, trigger)) is not OrderState.SUBMITTING


def test_an_impossible_pair_names_itself() -> None:
    with pytest.raises(ImpossibleTransitionError) as caught:
        next_state(REQUEST_STATES, RequestState.RECORDED, RequestTrigger.ENTRY_FILLED)

    assert str(caught.value) == "IMPOSSIBLE_TRANSITION: state=RECORDED trigger=entry_filled"


def test_every_status_of_the_exchange_has_a_trigger() -> None:
    assert set(STATUS_TRIGGERS) == set(ExchangeStatus)
    assert STATUS_TRIGGERS[ExchangeStatus.CANCELED] is OrderTrigger.CANCELED
    assert len(set(STATUS_TRIGGERS.values())) == len(ExchangeStatus)
