"""Every error goes through the real connector, so that what is judged is what it raises."""

import socket
from collections.abc import Iterator

import pytest
import requests
import responses
from binance.error import ClientError
from binance.um_futures import UMFutures
from structlog.testing import capture_logs
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from execution.adapters.binance.errors import (
    CLOCK_MARGIN_SECONDS,
    Failure,
    answer_of,
    classify,
    is_answer,
    was_served,
    whole_number,
)
from execution.adapters.binance.outcome_table import Answer, Fault, Meaning, Operation
from execution.domain.outcomes import Waits

BASE = "http://exchange.invalid"
ORDER = f"{BASE}/fapi/v1/order"
REFUSED, RETRY, BACK_OFF, UNKNOWN = Meaning.REFUSED, Meaning.RETRY, Meaning.BACK_OFF, Meaning.UNKNOWN
NOW_MS = 1_790_000_057_000
HTML = "<html><head><title>503 Service Unavailable</title></head><body>Service Unavailable</body></html>"


@pytest.fixture(autouse=True)
def exchange() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def failure_of_a_placement() -> Failure:
    client = UMFutures(key="k", secret="s", base_url=BASE)
    try:
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
    except Exception as error:  # noqa: BLE001 - whatever the connector raises is to be judged
        return classify(Operation.PLACE, error, exchange_ms=NOW_MS)
    raise AssertionError("the connector raised nothing")


def answered(mock: responses.RequestsMock, status: int, body: object, **headers: str) -> Failure:
    """Let the exchange answer a placement with an object as JSON, or with a text as it is."""
    if isinstance(body, str):
        mock.post(ORDER, status=status, body=body, headers=headers)
    else:
        mock.post(ORDER, status=status, json=body, headers=headers)
    return failure_of_a_placement()


def coded(code: int, message: str = "message") -> dict[str, object]:
    return {"code": code, "msg": message}


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        # The four meanings of a 503, told by its body
        (503, coded(-1000, "Unknown error, please check your request or try again later."), UNKNOWN),
        (503, {"msg": "Service Unavailable."}, RETRY),
        (503, coded(0, "Service Unavailable."), RETRY),
        (503, coded(-1008, "Request throttled by system-level protection. Please try again."), BACK_OFF),
        (503, coded(-1001, "Internal error; unable to process your request. Please try again."), UNKNOWN),
        (503, "Service Unavailable", RETRY),
        (503, HTML, UNKNOWN),
        (503, "", UNKNOWN),
        (503, "[]", UNKNOWN),
        (503, coded(-4999, "new code"), UNKNOWN),
        # May have been executed
        (408, coded(-1007, "Timeout waiting for response from backend server."), UNKNOWN),
        (408, "<html>Request Timeout</html>", UNKNOWN),
        (500, coded(-1006, "An unexpected response was received from the message bus."), UNKNOWN),
        (500, coded(-1000, "Request occur unknown error."), UNKNOWN),
        (500, "", UNKNOWN),
        (502, "<html>Bad Gateway</html>", UNKNOWN),
        (504, "<html>Gateway Timeout</html>", UNKNOWN),
        (400, coded(-1000), UNKNOWN),
        (400, coded(-1006), UNKNOWN),
        (400, coded(-1010), UNKNOWN),
        # Our own earlier attempt is there
        (400, coded(-4116, "ClientOrderId is duplicated."), UNKNOWN),
        # Everybody waits
        (429, coded(-1003, "Too many requests"), BACK_OFF),
        (429, coded(-1015, "Too many new orders; current limit is 300 orders per 10 SECOND."), BACK_OFF),
        (418, coded(-1003, "Way too many requests"), BACK_OFF),
        (429, "Too Many Requests", BACK_OFF),
        (400, coded(-1015), BACK_OFF),
        # The same may be sent again
        (400, coded(-1021, "Timestamp for this request is outside of the recvWindow."), RETRY),
        (400, coded(-5028, "Timestamp for this request is outside of the ME recvWindow."), RETRY),
        # Not as documented, and perhaps not the exchange's own answer
        (403, "<html>403 Forbidden</html>", UNKNOWN),
        (404, "<html>Not Found</html>", UNKNOWN),
        (400, "Bad Request", UNKNOWN),
        (400, coded(0, "not an error code"), UNKNOWN),
        (499, coded(200, "not an error code"), UNKNOWN),
        (400, {"msg": "no code"}, UNKNOWN),
        (400, "[]", UNKNOWN),
    ],
)
def test_answers(exchange: responses.RequestsMock, status: int, body: object, meaning: Meaning) -> None:
    assert answered(exchange, status, body).meaning is meaning


@pytest.mark.parametrize(
    "code",
    [
        *(-1002, -1013, -1014, -1020, -1022, -1100, -1102, -1106, -1111, -1121, -1122, -2010, -2018, -2019, -2020),
        *(-2021, -2022, -2023, -2025, -2027, -2028, -4003, -4004, -4005, -4014, -4015, -4016, -4023, -4024, -4028),
        *(-4045, -4061, -4062, -4087, -4105, -4109, -4118, -4120, -4131, -4140, -4142, -4164, -4192, -4400, -4401),
        *(-5021, -5022, -9999),
    ],
)
def test_refusals_are_proof_that_the_order_is_not_there(exchange: responses.RequestsMock, code: int) -> None:
    failure = answered(exchange, 400, coded(code, "the reason"))

    # It should keep the exchange's own words
    assert failure == Failure(meaning=REFUSED, code=code, message="the reason")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, coded(-2014, "API-key format invalid."), -2014),
        (401, coded(-2015, "Invalid API-key, IP, or permissions for action."), -2015),
        (403, coded(-1011, "This IP cannot access this route."), -1011),
        (404, coded(-5000, "Path is invalid"), -5000),
    ],
)
def test_other_client_errors_with_a_code_are_refusals(
    exchange: responses.RequestsMock, status: int, body: object, code: int | None
) -> None:
    failure = answered(exchange, status, body)

    assert (failure.meaning, failure.code) == (REFUSED, code)


@pytest.mark.parametrize("status", [418, 429])
def test_retry_after_is_honoured(exchange: responses.RequestsMock, status: int) -> None:
    failure = answered(exchange, status, coded(-1003), **{"Retry-After": "37"})

    assert failure.back_off_seconds == 37.0


@pytest.mark.parametrize(("status", "longest"), [(418, 259_200.0), (429, 300.0), (403, 300.0)])
@pytest.mark.parametrize("after", ["99999999", "9" * 400])
def test_no_answer_asks_for_years(exchange: responses.RequestsMock, status: int, longest: float, after: str) -> None:
    assert answered(exchange, status, coded(-1003), **{"Retry-After": after}).back_off_seconds == longest


@pytest.mark.parametrize("until", ["9" * 18, "9" * 180])
def test_no_text_bans_for_years(exchange: responses.RequestsMock, until: str) -> None:
    failure = answered(exchange, 418, coded(-1003, f"Way too many requests; IP banned until {until}."))

    assert failure.back_off_seconds == 259_200.0


@pytest.mark.parametrize("after", ["\u0663\u0660", "\u00b2", "-5", "1e3", "nan", "1_0"])
def test_what_is_no_row_of_ascii_digits_is_no_time(after: str) -> None:
    error = ClientError(429, -1003, "Too many requests.", {"Retry-After": after})

    assert classify(Operation.PLACE, error, exchange_ms=NOW_MS).back_off_seconds == 44.0


@pytest.mark.parametrize(
    ("status", "code", "served"),
    [
        (400, -2021, True),
        (400, -2013, True),
        (401, -2015, True),
        (429, -1003, False),
        (429, -1015, False),
        (418, -1003, False),
        (403, None, False),
        (400, -1003, False),
        (400, None, False),
    ],
)
def test_a_probe_learns_from_what_the_exchange_itself_has_worked_on(
    status: int, code: int | None, *, served: bool
) -> None:
    assert was_served(ClientError(status, code, "text", {})) is served
    assert not was_served(requests.ConnectionError())


def test_a_ban_lasts_until_the_time_in_its_text_and_a_moment_more(exchange: responses.RequestsMock) -> None:
    text = "Way too many requests; IP banned until 1790000123456. Please use the websocket for live updates."

    failure = answered(exchange, 418, coded(-1003, text))

    assert failure.back_off_seconds == pytest.approx(66.456 + CLOCK_MARGIN_SECONDS)


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        # Without a time the full window's end counts, and a second for the clocks; it is 17 seconds past the minute
        (429, coded(-1015), {}, 4.0),
        (429, coded(-1003), {"Retry-After": "soon"}, 44.0),
        (400, coded(-1003), {}, 44.0),
        (418, coded(-1003, "IP banned until 1000"), {}, 1.0),
        (403, HTML, {}, 60.0),
        (503, coded(-1008), {}, 2.0),
        (503, HTML, {}, 0.0),
    ],
)
def test_how_long_those_wait_who_must(
    exchange: responses.RequestsMock, status: int, body: object, headers: dict[str, str], seconds: float
) -> None:
    assert answered(exchange, status, body, **headers).back_off_seconds == seconds


@pytest.mark.parametrize("status", [403, 502])
def test_a_page_of_others_is_named_by_its_status_and_cut(exchange: responses.RequestsMock, status: int) -> None:
    failure = answered(exchange, status, "x" * 5000)

    assert (failure.code, failure.message) == (None, f"HTTP {status} {'x' * 200}")


@pytest.mark.parametrize(
    ("status", "body", "waits"),
    [
        (429, coded(-1003), Waits.EVERYBODY),
        (429, coded(-1015), Waits.ORDERS),
        (418, coded(-1003), Waits.EVERYBODY),
        (403, "<html>", Waits.EVERYBODY),
        # Exits are exempt from this protection, so they must not wait for it
        (503, coded(-1008), Waits.ENTRIES),
        (503, {"msg": "Service Unavailable."}, Waits.NOBODY),
        (400, coded(-1021), Waits.NOBODY),
        (400, coded(-2019), Waits.NOBODY),
        (503, coded(-1000), Waits.NOBODY),
    ],
)
def test_who_waits(exchange: responses.RequestsMock, status: int, body: object, waits: Waits) -> None:
    assert answered(exchange, status, body).waits is waits


def unreachable(reason: Exception) -> requests.ConnectionError:
    """What requests raises when urllib3 has given up connecting."""
    return requests.ConnectionError(MaxRetryError(None, "/fapi/v1/order", reason))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        unreachable(NewConnectionError(None, "refused")),  # type: ignore[arg-type]
        unreachable(NameResolutionError("exchange.invalid", None, socket.gaierror())),  # type: ignore[arg-type]
        unreachable(ConnectTimeoutError("timed out")),
        requests.ConnectTimeout("timed out"),
    ],
)
def test_what_never_left_may_be_sent_again(exchange: responses.RequestsMock, error: requests.RequestException) -> None:
    exchange.post(ORDER, body=error)

    assert failure_of_a_placement().meaning is RETRY


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("read timed out"),
        requests.ConnectionError(ReadTimeoutError(None, "/", "read timed out")),  # type: ignore[arg-type]
        requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))),
        requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionRefusedError(111, "refused"))),
        unreachable(SSLError("handshake")),
        requests.exceptions.ChunkedEncodingError("incomplete"),
        requests.exceptions.ContentDecodingError("gzip"),
        requests.ConnectionError(),
        requests.ConnectionError("a text"),
        requests.RequestException("anything else"),
    ],
)
def test_what_may_have_left_is_unknown(exchange: responses.RequestsMock, error: requests.RequestException) -> None:
    exchange.post(ORDER, body=error)

    assert failure_of_a_placement().meaning is UNKNOWN


def test_a_transport_fault_says_its_kind_only(exchange: responses.RequestsMock) -> None:
    exchange.post(ORDER, body=requests.ReadTimeout(f"{ORDER}?signature=secret"))

    # It should not repeat an address that carries a signature
    assert failure_of_a_placement().message == "ReadTimeout"


def test_a_fault_of_our_own_is_not_judged() -> None:
    with pytest.raises(AssertionError, match="ours"):
        classify(Operation.PLACE, AssertionError("ours"), exchange_ms=NOW_MS)


@pytest.mark.parametrize(
    ("status", "body", "spoken"),
    [
        (400, coded(-2019), True),
        (503, coded(-1000), True),
        (503, {"msg": "Service Unavailable."}, True),
        (503, "Service Unavailable", True),
        (502, "<html>Bad Gateway</html>", False),
        (500, "", False),
        (500, {"code": "x"}, False),
    ],
)
def test_who_has_spoken(exchange: responses.RequestsMock, status: int, body: object, spoken: bool) -> None:  # noqa: FBT001
    exchange.post(ORDER, status=status, **({"body": body} if isinstance(body, str) else {"json": body}))
    client = UMFutures(key="k", secret="s", base_url=BASE)

    with pytest.raises(Exception) as raised:  # noqa: PT011 -- whatever the connector raises
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
    assert is_answer(raised.value) is spoken
    # It should not take a fault of the transport, or of our own, for an answer
    assert [is_answer(error) for error in (requests.ConnectionError(), KeyError("code"))] == [False, False]


@pytest.mark.parametrize("error", [KeyError("orderId"), ValueError("x" * 500), TypeError("None"), IndexError("0")])
def test_an_answer_that_is_not_as_documented_is_unreadable(error: Exception) -> None:
    found = answer_of(error)

    assert (found.fault, found.status, found.code) == (Fault.UNREADABLE, 0, None)
    assert found.message == f"unreadable answer: {error!r}"[:200]
    assert len(found.message) <= 200


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (requests.ConnectTimeout(), Fault.NOT_SENT),
        (requests.ReadTimeout(), Fault.LOST),
        (requests.ConnectionError(), Fault.LOST),
        (requests.ConnectionError("reset", NewConnectionError(None, "refused")), Fault.LOST),  # type: ignore[arg-type]
        (requests.ConnectionError(NewConnectionError(None, "refused"), "later"), Fault.NOT_SENT),  # type: ignore[arg-type]
    ],
)
def test_what_a_transport_fault_says_of_the_request(error: requests.RequestException, fault: Fault) -> None:
    assert answer_of(error) == Answer(fault=fault, message=type(error).__name__)


def test_a_code_is_negative_and_a_full_window_without_one_is_a_minute(exchange: responses.RequestsMock) -> None:
    assert answered(exchange, 400, coded(-1, "least")).code == -1
    exchange.reset()
    # 17 seconds past the minute, and a second for the clocks.
    assert answered(exchange, 429, "Too Many Requests").back_off_seconds == 44.0


def client_error(status: int, code: object) -> ClientError:
    return ClientError(status, code, "message", {})


@pytest.mark.parametrize(
    ("status", "code", "served"),
    [
        (400, -1, True),
        (400, -2019, True),
        (400, 0, False),
        (400, 1, False),
        (400, None, False),
        (400, "-2019", False),
        (400, -1003, False),
        (400, -1015, False),
        (403, -2019, False),
        (418, -2019, False),
        (429, -2019, False),
    ],
)
def test_only_the_exchanges_own_answer_to_a_request_ends_a_hold(status: int, code: object, *, served: bool) -> None:
    assert was_served(client_error(status, code)) is served


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("12", 12), ("9" * 12, 999_999_999_999), ("9" * 13, None), ("\u0661", None), ("-1", None), ("", None)],
)
def test_a_header_spells_a_number_in_twelve_ascii_digits_at_most(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(("after", "seconds"), [("7", 7.0), ("300", 300.0), ("301", 300.0), ("9" * 400, 300.0)])
def test_a_longer_pause_than_a_few_windows_is_told(
    exchange: responses.RequestsMock, after: str, seconds: float
) -> None:
    with capture_logs() as logs:
        failure = answered(exchange, 429, coded(-1003), **{"Retry-After": after})

    assert failure.back_off_seconds == seconds
    told = [(line["event"], line["seconds"], line["asked_seconds"] > 300) for line in logs]
    assert told == ([("back_off_capped", 300.0, True)] if after not in {"7", "300"} else [])


@pytest.mark.parametrize("body", [[], "words", 5])
def test_a_body_that_is_no_object_has_no_code(exchange: responses.RequestsMock, body: object) -> None:
    exchange.post(ORDER, status=500, json=body)

    failure = failure_of_a_placement()

    assert (failure.meaning, failure.code) == (UNKNOWN, None)


def test_an_answer_without_words_has_none(exchange: responses.RequestsMock) -> None:
    assert answered(exchange, 500, {"code": -1000}).message == ""
