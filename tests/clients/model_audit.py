"""Holds the official SDK's response models against what the exchange sent: unknown fields, missing fields, no model."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Rule = tuple[str, tuple[str, ...], str]
ALL = ("*",)
DENIED = "Multiple"

# The models have no required fields: all must be there, but for what the exchange itself leaves out or sets to null.
ABSENT: Sequence[Rule] = (
    (r"^(?!.*Algo).*Order", ("activatePrice", "priceRate"), "only on trailing orders older than the Algo Service"),
    (r"Algo", ("icebergQuantity",), "always null"),
    (r"QueryAlgo|AlgoOpenOrders|AllAlgo", ("actualType",), "once triggered"),
    (r"Modify", ("modifyId",), "only when the request had one"),
    (r"Multiple", ("code", "msg"), "only in refused elements"),
    (r"AdlQuantile", ("HEDGE",), "only in hedge mode with cross margin"),
    (r"FiltersInner", ALL, "each filter has its own fields"),
    (r"^OrderTradeUpdateO$", ("AP", "cr", "M"), "trailing orders and amendments only"),
    (r"^AccountUpdateA$", ("S",), "funding only"),
    (r"^AlgoUpdateO$", ("ap", "aq", "act", "rm", "ia"), "once triggered, when refused, trailing orders only"),
    (r"Indicators$", ALL, "only symbols that were measured"),
)
# Sent by the live exchange, while the SDK's models lag behind.
UNKNOWN: Sequence[Rule] = (
    (r"ExchangeInformation", ("futuresType", "maxMoveOrderLimit", "permissionSets", "positionControlSide"), "live"),
    (r"QueryAlgo|AllAlgo", ("tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice"), "live"),
    (r"QueryAlgo|AllAlgo", ("activatePrice", "callbackRate", "actualQty"), "live, as in the answer to the placement"),
    (r"^OrderTradeUpdateO$", ("st",), "live, of triggered orders"),
    (r"OrderBookTicker", ("lastUpdateId",), "live"),
    (r"AccountInformationV2.*Positions", ("breakEvenPrice", "isolatedMargin", "isolatedWallet", "notional"), "live"),
)


def excused(rules: Sequence[Rule], model: str) -> set[str]:
    return {name for pattern, names, _ in rules if re.search(pattern, model) for name in names}


class Audit:
    """Collects faults; each is told once."""

    def __init__(self) -> None:
        self._faults: dict[str, None] = {}

    def faults(self) -> list[str]:
        return list(self._faults)

    def add(self, where: str, fault: str) -> None:
        self._faults[f"{where}: {fault}"] = None

    def as_log_handler(self) -> logging.Handler:
        """Return a handler that takes the SDK's warnings about answers it could not read as declared."""
        return _Warnings(self)

    def compare(self, where: str, parsed: object, answer: object) -> None:
        """Compare a parsed answer with its JSON, all the way down."""
        if isinstance(parsed, BaseModel):
            inner = getattr(parsed, "actual_instance", None)
            if inner is not None:
                self.compare(where, inner, answer)
            elif isinstance(answer, Mapping):
                if answer.keys() == {"code", "msg"} and DENIED in type(parsed).__name__:
                    return
                self._compare_model(where, parsed, answer)
            else:
                self.add(where, f"{type(parsed).__name__} from {type(answer).__name__}")
        elif isinstance(parsed, list) and isinstance(answer, list):
            for one, row in zip(parsed, answer, strict=True):
                self.compare(f"{where}[]", one, row)
        elif isinstance(answer, Mapping) and answer:
            self.add(where, "no model was made of it")

    def _compare_model(self, where: str, parsed: BaseModel, answer: Mapping[str, Any]) -> None:
        kind = type(parsed)
        names = {field.alias or name: name for name, field in kind.model_fields.items()}
        names.pop("additional_properties", None)
        self._tell(where, kind.__name__, answer.keys() - names.keys(), {n for n in names if answer.get(n) is None})
        for alias, name in names.items():
            if isinstance(answer.get(alias), Mapping | list):
                value = getattr(parsed, name)
                if contains_model(value):
                    self.compare(f"{where}.{alias}", value, answer[alias])

    def walk(self, where: str, parsed: object) -> None:
        """Look at a parsed answer whose JSON is not at hand."""
        if isinstance(parsed, list):
            for one in parsed:
                self.walk(f"{where}[]", one)
        elif isinstance(parsed, BaseModel):
            self._walk_model(where, parsed)

    def _walk_model(self, where: str, parsed: BaseModel) -> None:
        kind = type(parsed)
        values = {field.alias or name: getattr(parsed, name) for name, field in kind.model_fields.items()}
        unknown = values.pop("additional_properties", None) or {}
        self._tell(where, kind.__name__, set(unknown), {name for name, value in values.items() if value is None})
        for name, value in values.items():
            self.walk(f"{where}.{name}", value)

    def _tell(self, where: str, model: str, unknown: set[str], missing: set[str]) -> None:
        strange = sorted(unknown - excused(UNKNOWN, model))
        optional = excused(ABSENT, model)
        lacking = [] if optional >= {*ALL} else sorted(missing - optional)
        if strange:
            self.add(where, f"unknown to {model}: {', '.join(strange)}")
        if lacking:
            self.add(where, f"missing in {model}: {', '.join(lacking)}")


def contains_model(value: object) -> bool:
    return isinstance(value, BaseModel) or (isinstance(value, list) and any(contains_model(one) for one in value))


class _Warnings(logging.Handler):
    def __init__(self, audit: Audit) -> None:
        super().__init__(logging.WARNING)
        self._audit = audit

    def emit(self, record: logging.LogRecord) -> None:
        self._audit.add("SDK's log", record.getMessage()[:300])
