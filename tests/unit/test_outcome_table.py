"""Every documented error code, as the exchange's table of codes classes it, against what ours says per operation."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import responses
from binance.um_futures import UMFutures

from execution.adapters.binance.errors import classify
from execution.adapters.binance.outcome_table import (
    AFTER,
    TABLES,
    Answer,
    Fault,
    Meaning,
    Operation,
    Row,
    row_for,
)
from execution.adapters.binance.outcomes_page import page
from tests.unit.test_docs import rows

ROOT = Path(__file__).resolve().parents[2]
BASE = "http://exchange.invalid"
M, Op = Meaning, Operation
# Status and code of the answers that are not plain refusals; every other documented code is one, with status 400.
LIMIT_CODES = {-1003: 429, -1015: 429}
UNKNOWN_CODES = {-1000: 503, -1001: 503, -1006: 500, -1007: 408, -1010: 400, -4083: 400}
THROTTLED_CODES = {-1008: 503}
RETRY_CODES = {-1021: 400, -5028: 400}
GENERAL = (-1002, -1004, -1005, -1011, -1013, -1014, -1016, -1020, -1022, -1023, -1099)
REQUEST = (
    *range(-1106, -1099),
    *range(-1117, -1107),
    *(-1118, -1119, -1120, -1121, -1122, -1125, -1126, -1127, -1128, -1130, -1131, -1136),
)
PROCESSING = tuple(range(-2028, -2009))
FILTERS = (
    *range(-4082, -3999),
    *(-4084, -4085, -4086, -4087, -4088, -4104, -4105, -4106, -4107, -4109, -4114, -4115, -4116, -4117, -4118, -4120),
    *(-4131, -4135, -4136, -4137, -4138, -4139, -4140, -4141, -4142, -4144, -4161, -4164, -4165, -4167, -4168, -4169),
    *(-4170, -4171, -4172, -4183, -4184, -4189, -4192, -4202, -4203, -4205, -4206, -4208, -4209, -4210, -4211, -4400),
    *(-4401, -4402, -4403, -4531),
)
EXECUTION = (-5000, -5021, -5022, -5024, -5025, -5026, -5027, -5029, -5037, -5038, -5039, -5040, -5041, -5043, -5047)
REFUSALS = (*GENERAL, *REQUEST, *PROCESSING, *FILTERS, *EXECUTION)
# What an operation makes of codes that are plain refusals elsewhere.
SPECIAL: dict[Operation, dict[int, Meaning]] = {
    Op.PLACE: {-4116: M.UNKNOWN},
    Op.PLACE_CONDITIONAL: {-4116: M.UNKNOWN},
    Op.CANCEL: {-2011: M.BENIGN, -2013: M.BENIGN, -4117: M.RETRY},
    Op.QUERY: {-2011: M.MISSING, -2013: M.MISSING},
    Op.QUERY_CONDITIONAL: {-2011: M.MISSING, -2013: M.MISSING},
    Op.LIST: {},
    Op.SETTINGS: {-4046: M.BENIGN, -4059: M.BENIGN},
}
ALLOWED = {
    Op.PLACE: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN},
    Op.PLACE_CONDITIONAL: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN},
    Op.CANCEL: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN, M.BENIGN},
    Op.QUERY: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN, M.MISSING},
    Op.QUERY_CONDITIONAL: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN, M.MISSING},
    Op.LIST: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN},
    Op.SETTINGS: {M.ACCEPTED, M.REFUSED, M.RETRY, M.BACK_OFF, M.UNKNOWN, M.BENIGN},
}


def expected(operation: Operation, code: int) -> Meaning:
    if code in LIMIT_CODES or code in THROTTLED_CODES:
        return M.BACK_OFF
    if code in UNKNOWN_CODES:
        return M.UNKNOWN
    return M.RETRY if code in RETRY_CODES else SPECIAL[operation].get(code, M.REFUSED)


CALLS: dict[Operation, tuple[str, str, Callable[[UMFutures], object]]] = {
    Op.PLACE: ("POST", "/fapi/v1/order", lambda c: c.new_order(symbol="BTCUSDT", side="BUY", type="MARKET")),
    Op.PLACE_CONDITIONAL: ("POST", "/fapi/v1/algoOrder", lambda c: c.sign_request("POST", "/fapi/v1/algoOrder", {})),
    Op.CANCEL: ("DELETE", "/fapi/v1/order", lambda c: c.cancel_order("BTCUSDT", origClientOrderId="x")),
    Op.QUERY: ("GET", "/fapi/v1/order", lambda c: c.query_order("BTCUSDT", origClientOrderId="x")),
    Op.QUERY_CONDITIONAL: ("GET", "/fapi/v1/algoOrder", lambda c: c.sign_request("GET", "/fapi/v1/algoOrder", {})),
    Op.LIST: ("GET", "/fapi/v1/allOrders", lambda c: c.get_all_orders("BTCUSDT")),
    Op.SETTINGS: ("POST", "/fapi/v1/leverage", lambda c: c.change_leverage("BTCUSDT", 5)),
}


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize("operation", Operation)
def test_every_documented_code(server: responses.RequestsMock, operation: Operation) -> None:
    statuses = LIMIT_CODES | UNKNOWN_CODES | THROTTLED_CODES | RETRY_CODES | dict.fromkeys(REFUSALS, 400)
    method, path, call = CALLS[operation]
    client = UMFutures(key="k", secret="s", base_url=BASE)
    found = {}
    for code, status in statuses.items():
        server.upsert(method, BASE + path, status=status, json={"code": code, "msg": "the exchange's words"})
        try:
            call(client)
        except Exception as error:  # noqa: BLE001 - whatever the connector raises is to be judged
            failure = classify(operation, error, exchange_ms=0)
            assert (failure.code, failure.message) == (code, "the exchange's words")
            found[code] = failure.meaning

    assert len(found) > 190
    assert found == {code: expected(operation, code) for code in statuses}


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (Answer(status=200), M.ACCEPTED),
        (Answer(status=400, code=-9999), M.REFUSED),
        (Answer(status=500, code=-9999), M.UNKNOWN),
        # A refusal's code in a server error proves nothing.
        (Answer(status=503, code=-2019), M.UNKNOWN),
        (Answer(status=503, code=-2013), M.UNKNOWN),
        (Answer(status=503, code=-4116), M.UNKNOWN),
        (Answer(status=404, message="<html>"), M.UNKNOWN),
        (Answer(status=302), M.UNKNOWN),
        (Answer(status=504), M.UNKNOWN),
        (Answer(fault=Fault.NOT_SENT), M.RETRY),
        (Answer(fault=Fault.LOST), M.UNKNOWN),
        (Answer(fault=Fault.UNREADABLE), M.UNKNOWN),
    ],
)
def test_what_is_not_listed_falls_to_the_safe_side(operation: Operation, answer: Answer, meaning: Meaning) -> None:
    assert row_for(operation, answer).meaning is meaning


@pytest.mark.parametrize("operation", Operation)
def test_each_table_speaks_its_operations_words_and_names_its_sources(operation: Operation) -> None:
    assert {row.meaning for row in TABLES[operation]} <= ALLOWED[operation]
    assert all(row.source and row.what for row in TABLES[operation])
    # It should end with the same named defaults everywhere.
    assert TABLES[operation][-len(AFTER) :] == AFTER


@pytest.mark.parametrize("operation", Operation)
def test_no_row_is_hidden_by_those_before_it(operation: Operation) -> None:
    assert [row.what for row in TABLES[operation] if row_for(operation, example(row)) is not row] == []


def example(row: Row) -> Answer:
    """Return an answer that fits a row and is as ordinary as can be."""
    # An uncommon status for rows that take any: the named statuses have rows of their own.
    status = next((status for status in (599, 499, 200, *row.statuses) if status in row.statuses), 0)
    if row.fault:
        return Answer(fault=row.fault)
    code = max(row.codes) if row.codes else -9999 if row.coded else None
    if not row.codes and row.coded is None and status == 599:
        # "Anything else" is what is no answer of HTTP as we know it.
        status = 302 if 302 in row.statuses else status
    text = (
        {"Service Unavailable\\.?": "Service Unavailable."}.get(row.message.pattern, "Already exist")
        if row.message
        else ""
    )
    return Answer(status=status, code=code, message=text)


def test_a_leverage_that_is_so_already_is_told_by_its_text() -> None:
    invalid = Answer(status=400, code=-4028, message="Leverage 200 is not valid")
    known = Answer(status=400, code=-4028, message="Leverage 5 already exist with 5")

    assert row_for(Op.SETTINGS, invalid).meaning is M.REFUSED
    assert row_for(Op.SETTINGS, known).meaning is M.BENIGN


def test_the_page_shows_the_tables() -> None:
    assert (ROOT / "docs/outcomes.md").read_text() == page()


@pytest.mark.parametrize("operation", Operation)
def test_the_page_shows_every_row_of_every_table(operation: Operation) -> None:
    shown = rows("docs/outcomes.md", f"## {operation}")

    assert [(cells[2], cells[3]) for cells in shown] == [(row.what, row.meaning) for row in TABLES[operation]]
