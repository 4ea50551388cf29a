"""Every refusal of the exchange: its code, Binance's text and its HTTP status."""

from typing import Final

# code -> text; the placeholders are filled by refuse().
TEXTS: Final[dict[int, str]] = {
    -1000: "An unknown error occured while processing the request.",
    -1003: "Too many requests; current limit is {limit} requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1002: "You are not authorized to execute this request.",
    -1006: "An unexpected response was received from the message bus. Execution status unknown.",
    -1008: "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1015: "Too many new orders; current limit is {limit} orders per {interval}.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1023: "Start time is greater than end time.",
    -1100: "Illegal characters found in parameter '{name}'; legal range is '{legal}'.",
    -1101: "Duplicate values for a parameter detected.",
    -1102: "Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
    -1106: "Parameter '{name}' sent when not required.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1122: "Invalid symbol status.",
    -1125: "This listenKey does not exist.",
    -1127: "More than {hours} hours between startTime and endTime.",
    -1128: "Combination of optional parameters invalid.",
    -1130: "Data sent for parameter '{name}' is not valid.",
    -1131: "recvWindow must be less than 60000.",
    -1136: "Invalid newOrderRespType",
    -2010: "NEW_ORDER_REJECTED",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2018: "Balance is insufficient.",
    -2019: "Margin is insufficient.",
    -2020: "Unable to fill.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2023: "User in liquidation mode now.",
    -2025: "Reach max open order limit.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -2028: "Leverage is smaller than permitted: insufficient margin balance.",
    -1010: "Request body is larger than {limit} bytes.",
    -4001: "Price less than 0.",
    -4002: "Price greater than max price.",
    -4003: "Quantity less than or equal to zero.",
    -4004: "Quantity less than min quantity.",
    -4005: "Quantity greater than max quantity.",
    -4006: "Stop price less than zero.",
    -4007: "Stop price greater than max price.",
    -4013: "Price less than min price.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id length should be less than 36 chars.",
    -4016: "Limit price can't be higher than {bound}.",
    -4021: "'{limit}' is not valid depth limit.",
    -4023: "Qty not increased by step size.",
    -4024: "Limit price can't be lower than {bound}.",
    -4028: "Leverage {leverage} is not valid",
    -4031: "Invalid working type",
    -4032: "Exceed maximum cancel order size.",
    -4045: "Reach max stop order limit.",
    -4046: "No need to change margin type.",
    -4047: "Margin type cannot be changed if there exists open orders.",
    -4048: "Margin type cannot be changed if there exists position.",
    -4049: "Add margin only support for isolated position.",
    -4050: "Cross balance insufficient.",
    -4051: "Isolated balance insufficient.",
    -4054: "Cannot add position margin: position is 0.",
    -4055: "Amount must be positive.",
    -4056: "Invalid API key type.",
    -4059: "No need to change position side.",
    -4060: "Invalid position side.",
    -4061: "Order's position side does not match user's setting.",
    -4067: "Position side cannot be changed if there exists open orders.",
    -4068: "Position side cannot be changed if there exists position.",
    -4082: "Invalid number of batch place orders.",
    -4105: "This symbol is under position risk control: only reduce-only orders are allowed.",
    -4106: "This symbol is under position risk control: buy orders must be reduce-only.",
    -4107: "This symbol is under position risk control: sell orders must be reduce-only.",
    -4116: "ClientOrderId is duplicated.",
    -4117: "Stop order is in triggering process. Please try again later.",
    -4118: "ReduceOnly Order Failed. Please check your existing position and open orders.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    -4130: "An open stop or take profit order with GTE and closePosition in the direction is existing.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4136: "Target strategy invalid for orderType {type}, closePosition {close}.",
    -4137: "Quantity must be zero with closePosition equals true.",
    -4140: "Invalid symbol status for opening position.",
    -4141: "Symbol is closed.",
    -4161: "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
    -4164: "Order's notional must be no smaller than {notional} (unless you choose reduce only).",
    -4165: "Maximum time interval is {days} days.",
    -4167: "Unable to adjust to Multi-Assets mode with symbols of USDⓈ-M Futures under isolated-margin mode.",
    -4168: "Unable to adjust to isolated-margin mode under the Multi-Assets mode.",
    -4169: "Unable to adjust Multi-Assets Mode with insufficient margin balance in USDⓈ-M Futures.",
    -4170: "Unable to adjust Multi-Assets Mode if there are open orders.",
    -4171: "Adjusted asset mode is currently set and does not need to be adjusted repeatedly.",
    -4172: "Unable to adjust Multi-Assets Mode with a negative wallet balance of margin available asset "
    "in USDⓈ-M Futures account.",
    -4189: "The account may only reduce its position on this symbol.",
    -4400: "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, please try again later.",
    -4401: "Large position rule: only reduceOnly orders are allowed on this symbol.",
    -5000: "Path {path}, Method {method} is invalid",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history",
    -5024: "Order amendment is not permitted while the symbol is not trading.",
    -5025: "Only limit order is supported.",
    -5026: "Exceed maximum modify order limit.",
    -5027: "No need to modify the order.",
    -5028: "Timestamp for this request is outside of the ME recvWindow.",
    -5029: "Order's notional must be no smaller than {notional}.",
    -5037: "Invalid price match",
    -5038: "Price match only supports order type: LIMIT, STOP AND TAKE_PROFIT",
    -5039: "Invalid self trade prevention mode",
    -5040: "The goodTillDate timestamp must be greater than the current time plus 600 seconds "
    "and smaller than 253402300799000",
    -5041: "No depth matches this BBO order",
    -5043: "A pending modification already exists for this order.",
    -5047: "The original order is not a reduce-only order.",
}

# All others travel with 400.
STATUS: Final[dict[int, int]] = {
    -1000: 503,
    -1001: 503,
    -1003: 429,
    -1006: 500,
    -1007: 408,
    -1008: 503,
    -1010: 413,
    -1015: 429,
    -2014: 401,
    -2015: 401,
    -5000: 404,
}


class ExchangeError(Exception):
    """A refusal: nothing was executed."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.status = status


def refuse(code: int, **values: object) -> ExchangeError:
    """Return the refusal of that code, its text completed with `values`."""
    return ExchangeError(code, TEXTS[code].format(**values) if values else TEXTS[code], STATUS.get(code, 400))


def missing(name: str) -> ExchangeError:
    return refuse(-1102, name=name)


def unwanted(name: str) -> ExchangeError:
    return refuse(-1106, name=name)


def ahead_of_server() -> ExchangeError:
    return ExchangeError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
