"""The documented failures of the exchange as ready-made replies, by name."""

from dataclasses import dataclass
from typing import Final

from paper_exchange.errors import TEXTS


@dataclass(frozen=True, slots=True)
class Preset:
    status: int
    body: object
    # Orders that only reduce a position are not hit.
    spares_reducing: bool = False


def _error(code: int, text: str) -> dict[str, object]:
    return {"code": code, "msg": text}


PRESETS: Final[dict[str, Preset]] = {
    # Outcome unknown: the request may have been executed.
    "unknown_503": Preset(503, _error(-1000, "Unknown error, please check your request or try again later.")),
    "timeout_408": Preset(408, _error(-1007, TEXTS[-1007])),
    "bus_500": Preset(500, _error(-1006, TEXTS[-1006])),
    "gateway_502": Preset(502, "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    # Certainly not executed.
    "unavailable_503": Preset(503, {"msg": "Service Unavailable."}),
    "throttled_503": Preset(503, _error(-1008, TEXTS[-1008]), spares_reducing=True),
    "internal_503": Preset(503, _error(-1001, TEXTS[-1001])),
    "too_many_429": Preset(429, _error(-1003, TEXTS[-1003].format(limit=2400))),
    "orders_429": Preset(429, _error(-1015, TEXTS[-1015].format(limit=300, interval="10 SECOND"))),
    "banned_418": Preset(
        418,
        _error(
            -1003,
            "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans.",
        ),
    ),
    "firewall_403": Preset(403, "<html><body>Forbidden</body></html>"),
}
