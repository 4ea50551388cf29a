"""The connector, with one change: an order may carry the time at which its sender last had the right to send it."""

from collections.abc import Mapping
from typing import Any

from binance.lib.utils import get_timestamp
from binance.um_futures import UMFutures

from execution.crash_points import CrashPoint, reached

TIMESTAMP = "timestamp"


class Connector(UMFutures):  # type: ignore[misc]  # the package brings no types
    """Signs a given timestamp instead of a new one: what is sent late must look late to the exchange."""

    def sign_request(
        self,
        http_method: str,
        url_path: str,
        payload: Mapping[str, Any] | None = None,
        special: bool = False,  # noqa: FBT001, FBT002 -- the connector's signature
    ) -> Any:
        signed = {**(payload or {})}
        dated = TIMESTAMP in signed
        signed.setdefault(TIMESTAMP, get_timestamp())
        signed["signature"] = self._get_sign(self._prepare_params(signed, special))
        if dated:
            reached(CrashPoint.ORDER_SIGNED)
        return self.send_request(http_method, url_path, signed, special)
