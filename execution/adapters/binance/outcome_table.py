"""What each answer of the exchange proves: one table for each operation, each row with its source.

`errors.classify` looks an answer up here, and the first row that fits decides. An answer that no row names falls to the
last rows, which are on the safe side. `docs/outcomes.md` is written from these tables.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from execution.domain.outcomes import Waits


class Operation(StrEnum):
    """What we ask of the exchange."""

    PLACE = "place"
    PLACE_CONDITIONAL = "place_conditional"
    CANCEL = "cancel"
    QUERY = "query"
    QUERY_CONDITIONAL = "query_conditional"
    LIST = "list"
    SETTINGS = "settings"


class Meaning(StrEnum):
    """What an answer proves about the operation."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    RETRY = "refused, may be sent again"
    BACK_OFF = "refused, may be sent again after a wait"
    UNKNOWN = "unknown"
    BENIGN = "benign"
    MISSING = "missing"


class Fault(StrEnum):
    """What kept us from reading an answer."""

    NOT_SENT = "not sent"
    LOST = "answer lost"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: status, code and text, or the fault.

    Without a code the exchange may not have answered at all: proxies and firewalls speak HTTP too.
    """

    status: int = 0
    code: int | None = None
    message: str = ""
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One rule. An empty field fits everything.

    `coded`: whether the answer must have a code of the exchange.
    """

    what: str
    meaning: Meaning
    source: str
    statuses: Collection[int] = range(1000)
    codes: frozenset[int] = frozenset()
    coded: bool | None = None
    message: "re.Pattern[str] | None" = None
    fault: Fault | None = None
    waits: Waits = Waits.NOBODY

    def fits(self, answer: Answer) -> bool:
        return (
            self.fault is answer.fault
            and answer.status in self.statuses
            and (not self.codes or answer.code in self.codes)
            and self.coded in {None, answer.code is not None}
            and (self.message is None or self.message.fullmatch(answer.message.strip()) is not None)
        )


def row_for(operation: Operation, answer: Answer) -> Row:
    """Return the first row that fits. Every table has one for every answer and fault."""
    return next(row for row in TABLES[operation] if row.fits(answer))


def codes(*numbers: int | range) -> frozenset[int]:
    """Return error codes: single ones, and ranges written from the code nearest to zero on."""
    spread = (number if isinstance(number, range) else (number,) for number in numbers)
    return frozenset(code for part in spread for code in part)


def upto(first: int, last: int) -> range:
    return range(first, last - 1, -1)


GENERAL = "General Info"
ERRORS = "Error Code"
LISTED = f"{ERRORS}; not executed"
SUCCESS, CLIENT, SERVER = range(200, 300), range(400, 500), range(500, 600)
LIMITED = frozenset({418, 429})
M, W = Meaning, Waits

# What holds for every operation, from the transport up.
ANSWERED = Row(what="an answer as documented", statuses=SUCCESS, meaning=M.ACCEPTED, source=GENERAL)
UNREADABLE = Row(
    what="an answer that is not as documented",
    fault=Fault.UNREADABLE,
    meaning=M.UNKNOWN,
    source="no document: safe side",
)
NOT_SENT = Row(
    what="no name, no connection: not a byte was written",
    fault=Fault.NOT_SENT,
    meaning=M.RETRY,
    source="no document: the connection never stood",
)
LOST = Row(
    what="time-out or lost connection after connecting",
    fault=Fault.LOST,
    meaning=M.UNKNOWN,
    source="nautilus_trader docs/concepts/live.md; hummingbot #601, #493",
)
LIMITS = (
    Row(
        what="too many orders of the account; reads and cancels are not orders",
        codes=codes(-1015),
        meaning=M.BACK_OFF,
        waits=W.ORDERS,
        source=f"{GENERAL}, Order Rate Limits; {ERRORS}",
    ),
    Row(
        what="a limit was broken, or the address is banned",
        statuses=LIMITED,
        meaning=M.BACK_OFF,
        waits=W.EVERYBODY,
        source=f"{GENERAL}, HTTP Return Codes",
    ),
    Row(
        what="the same, reported by its code alone",
        codes=codes(-1003),
        meaning=M.BACK_OFF,
        waits=W.EVERYBODY,
        source=ERRORS,
    ),
)
FIREWALL = Row(
    what="the firewall's page",
    statuses=range(403, 404),
    coded=False,
    meaning=M.UNKNOWN,
    waits=W.EVERYBODY,
    source=f"{GENERAL}, HTTP Return Codes: execution is not mentioned",
)
TIMED_OUT = Row(
    what="the backend did not answer in time", statuses=range(408, 409), meaning=M.UNKNOWN, source=f"{ERRORS} -1007"
)
STATUS_UNKNOWN = Row(
    what="execution status unknown, or not mentioned",
    codes=codes(-1000, -1006, -1007, -1010, -4083),
    meaning=M.UNKNOWN,
    source=f"{ERRORS}; nautilus_trader #4215",
)
INTERNAL = Row(
    what="internal error, documented as a failure: asking costs little, a double entry does not",
    codes=codes(-1001),
    meaning=M.UNKNOWN,
    source=f"{GENERAL}, 503; stricter than the document",
)
THROTTLED = Row(
    what="throttled by system-level protection; orders that only reduce are exempt",
    codes=codes(-1008),
    meaning=M.BACK_OFF,
    waits=W.ENTRIES,
    source=f"{GENERAL}, 503; {ERRORS}",
)
UNAVAILABLE = Row(
    # The exchange's own sentence and nothing around it: a proxy's page of that name may follow a request it passed on.
    what="Service Unavailable, as the whole text",
    statuses=range(503, 504),
    coded=False,
    message=re.compile(r"Service Unavailable\.?"),
    meaning=M.RETRY,
    source=f"{GENERAL}, 503: failed for certain",
)
OUTSIDE_WINDOW = Row(
    what="outside of the receive window, at the gate or at the matching engine",
    statuses=CLIENT,
    codes=codes(-1021, -5028),
    meaning=M.RETRY,
    source=LISTED,
)
CODED_REFUSAL = Row(
    what="any other code of the exchange",
    statuses=CLIENT,
    coded=True,
    meaning=M.REFUSED,
    source=f"{GENERAL}: 4xx are malformed or refused requests",
)
NOT_THE_EXCHANGE = Row(
    what="4xx without a code of the exchange: perhaps not its answer",
    statuses=CLIENT,
    coded=False,
    meaning=M.UNKNOWN,
    source="no document: safe side",
)
SERVER_ERROR = Row(
    what="any other 5xx, with or without a code",
    statuses=SERVER,
    meaning=M.UNKNOWN,
    source=f"{GENERAL}, HTTP Return Codes: execution status unknown",
)
ANYTHING = Row(what="anything else", meaning=M.UNKNOWN, source="no document: safe side")

BEFORE = (
    *(ANSWERED, UNREADABLE, NOT_SENT, LOST, *LIMITS, FIREWALL, TIMED_OUT, STATUS_UNKNOWN, INTERNAL, THROTTLED),
    *(UNAVAILABLE, OUTSIDE_WINDOW),
)
AFTER = (CODED_REFUSAL, NOT_THE_EXCHANGE, SERVER_ERROR, ANYTHING)


def refused(what: str, *numbers: int | range, source: str = LISTED) -> Row:
    return Row(what=what, statuses=CLIENT, codes=codes(*numbers), meaning=M.REFUSED, source=source)


DUPLICATE = Row(
    what="duplicated client id: an earlier attempt has arrived; query the order and adopt it, filled or not",
    statuses=CLIENT,
    codes=codes(-4116),
    meaning=M.UNKNOWN,
    source=f"{ERRORS}; nautilus_trader #4215",
)
# What a refusal was about; each is proof that the order is not there.
REFUSALS = (
    refused("the key or its rights", -1002, -1004, -1005, -1011, -1022, -1099, -2014, -2015, -2017),
    refused(
        "a parameter",
        *(-1013, -1014, -1020, upto(-1100, -1106), upto(-1108, -1110), upto(-1113, -1119), -1128, -1130, -1131),
        *(-1136, -4015, -4020, -4062, -5000, upto(-5037, -5040)),
    ),
    refused(
        "a price or quantity filter",
        *(-1111, upto(-4001, -4007), -4013, -4014, -4016, -4023, -4024, -4164, -4183, -4184, -4210, -4211),
    ),
    refused("no price to trade at", -1112, -2020, -4131, -5021, -5022, -5041),
    refused("margin or position size", -2010, -2018, -2019, -2024, -2027, -2028),
    refused("nothing to reduce: the position is out, or other orders reduce it already", -2022, -2026, -4118),
    refused("too many open orders", -2025, -4045),
    refused("the symbol does not trade", -1121, -1122, -2016, -4104, -4140, -4141, -4144),
    refused("the account may not open now", -1016, -2023, -4084, -4087, -4088, upto(-4105, -4107), -4109, -4189),
    refused("rules about trading behaviour or region", -4192, -4400, -4401, -4402),
    refused("the position mode", -4060, -4061, -4531),
)
WRONG_BOOK = refused("a conditional type in the ordinary book", -4120, source="Change Log 2025-12-09; freqtrade #12610")
LEVEL_PASSED = refused("the level has passed: the order would trigger at once", -2021, -4142)
ALGO_ONLY = refused("trailing or close-position terms", -4135, upto(-4136, -4139))

NOT_OPEN = Row(
    what="not open, or never there: the order itself shows which",
    statuses=CLIENT,
    codes=codes(-2011, -2013),
    meaning=M.BENIGN,
    source=f"{ERRORS}; freqtrade #3647, #9128",
)
TRIGGERING = Row(
    what="it is triggering at this moment", statuses=CLIENT, codes=codes(-4117), meaning=M.RETRY, source=ERRORS
)
NO_SUCH_ORDER = Row(
    what="the order does not exist: one reading, never proof",
    statuses=CLIENT,
    codes=codes(-2011, -2013),
    meaning=M.MISSING,
    source=f"{ERRORS}; hummingbot #601",
)
NO_SUCH_ALGO_ORDER = replace(
    NO_SUCH_ORDER,
    what="the Algo Service does not know it: triggered, ended or forgotten; the ordinary order is queried next",
    source=f"{ERRORS}; freqtrade #12681, nautilus_trader #4411, ccxt #27486",
)
ALREADY_SO = (
    Row(
        what="the leverage is so already",
        statuses=CLIENT,
        codes=codes(-4028),
        message=re.compile(r".*already exist.*", re.IGNORECASE),
        meaning=M.BENIGN,
        source=ERRORS,
    ),
    Row(
        what="margin type or position mode is so already",
        statuses=CLIENT,
        codes=codes(-4046, -4059),
        meaning=M.BENIGN,
        source=ERRORS,
    ),
)
LEVERAGE_REFUSED = refused(
    "the leverage", -2027, -2028, -4028, -4161, upto(-4202, -4203), -4205, -4206, -4208, -4209, -4403
)

TABLES: Mapping[Operation, tuple[Row, ...]] = MappingProxyType(
    {
        Operation.PLACE: (*BEFORE, DUPLICATE, *REFUSALS, WRONG_BOOK, *AFTER),
        Operation.PLACE_CONDITIONAL: (*BEFORE, DUPLICATE, LEVEL_PASSED, *REFUSALS, ALGO_ONLY, *AFTER),
        Operation.CANCEL: (*BEFORE, NOT_OPEN, TRIGGERING, *AFTER),
        Operation.QUERY: (*BEFORE, NO_SUCH_ORDER, *AFTER),
        Operation.QUERY_CONDITIONAL: (*BEFORE, NO_SUCH_ALGO_ORDER, *AFTER),
        Operation.LIST: (*BEFORE, *AFTER),
        Operation.SETTINGS: (*BEFORE, *ALREADY_SO, LEVERAGE_REFUSED, *AFTER),
    }
)
