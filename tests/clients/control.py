"""The paper exchange's control API, by the standard library alone: client environments have nothing else of ours."""

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.clients.ports import SYMBOL


@dataclass(frozen=True, kw_only=True)
class Control:
    url: str

    def reset(self) -> None:
        self._post("reset")

    def set_price(self, price: str) -> None:
        self._post("price", symbol=SYMBOL, price=price, hold=True)

    def pay_funding(self, rate: str) -> None:
        self._post("funding", symbol=SYMBOL, rate=rate)

    def refuse(self, method: str, path: str, preset: str) -> None:
        """Answer the next such request with one of the control API's presets."""
        self._post("faults", path=path, method=method, action="reply", preset=preset, count=1)

    def _post(self, path: str, /, **body: Any) -> None:
        request = urllib.request.Request(  # noqa: S310 - the address is our own server's
            f"{self.url}/paper/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10):
            pass
