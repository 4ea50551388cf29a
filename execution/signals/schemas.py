"""Schemas of incoming events and orders: tolerant of spellings, strict about meaning.

Errors name the field and the rule.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from execution.domain import bounds
from execution.domain.signatures import SIGNATURE_FIELDS
from execution.domain.trading import DIRECTIONS, Direction, TimeInForce
from execution.domain.true_range import LEAST_PERIOD, MOST_PERIOD, Interval
from execution.domain.unread import ReadFields, not_known, not_read

# What the database can hold exactly, with room to spare on both ends.
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e12")
HOLD = "hold"
# What stands beside a payload; in the flat wire form, among its fields.
ENVELOPE_FIELDS = frozenset(
    {"event_type", "event_id", "trace_id", "correlation_id", "source", "schema_version", "sequence", *SIGNATURE_FIELDS}
)
MAX_LEVERAGE = 125
REASON_LENGTH = 2000
MAX_TARGETS = 10
# An entry may be worth several times the equity, within the leverage.
MOST_EQUITY_PERCENT = 1000
# A distance of an exit in R or in multiples of the ATR.
MOST_MULTIPLE = 1000
# Ways to give the level of the stop and of the only target: one each.
STOP_FORMS = ("stop_loss", "stop_loss_percent", "stop_loss_atr")
TARGET_FORMS = ("take_profit", "take_profit_percent", "take_profit_r", "take_profit_atr")
# Ways to give the size: one of them.
AI_SIZES = ("position_size_usd", "equity_percent", "risk_usd", "risk_percent")
ORDER_SIZES = ("quantity", "notional_usd", *AI_SIZES[1:])
ATR_TERMS = ("atr_interval", "atr_period")
LONGEST_SECONDS = 366 * 24 * 3600
# Notes of a producer that come back with the trade; a longer one is a document, and belongs elsewhere.
METADATA_BYTES, METADATA_DEPTH = 16 * 1024, 12
CONFIDENCE_DECIMALS = 8
# The words for a time in force that producers use.
TIMES_IN_FORCE = {each.lower(): each for each in TimeInForce} | {"post_only": TimeInForce.GTX}


def _number(value: object) -> Decimal:
    """Read numbers through their text, so that 0.1 stays 0.1. A boolean is not a number."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")  # noqa: TRY004 -- pydantic reports ValueError as a broken rule
    if not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004 -- as above
    # A Decimal's exponent may be absurd, and an integer longer than Python writes out: bounds before the text.
    if not isinstance(value, str) and not (Decimal(value).is_finite() and -LARGEST <= Decimal(value) <= LARGEST):
        raise ValueError(f"must be a finite number of at most {LARGEST}")
    return bounds.number_of(repr(value) if isinstance(value, float) else str(value))


def _optional_number(value: object) -> Decimal | None:
    """Read an empty string or null as absent, because the flat wire form has no null."""
    return None if value is None or value == "" else _number(value)


def _absent_when_zero(value: object) -> Decimal | None:
    """Read 0 as absent, as producers send it for 'none'."""
    return _optional_number(value) or None


def _leverage(value: object) -> object:
    number = _absent_when_zero(value)
    # Pydantic would write out every digit of 1e99999999 to make it an integer, so the bounds come first.
    if number is not None and not 1 <= number <= MAX_LEVERAGE:
        raise ValueError(f"must be a whole number from 1 to {MAX_LEVERAGE}")
    return number


def _seconds(value: object) -> object:
    number = _optional_number(value)
    # As for leverage: bounds before the digits are written out.
    if number is not None and not 1 <= number <= LONGEST_SECONDS:
        raise ValueError(f"must be a whole number from 1 to {LONGEST_SECONDS}")
    return number


def _period(value: object) -> object:
    number = _optional_number(value)
    # As for leverage: bounds before the digits are written out.
    if number is not None and not LEAST_PERIOD <= number <= MOST_PERIOD:
        raise ValueError(f"must be a whole number from {LEAST_PERIOD} to {MOST_PERIOD}")
    return number


def _interval(value: object) -> Interval | None:
    """Read an interval in its own case, because 1m is a minute and 1M a month."""
    if value is None or value == "":
        return None
    spelt = value.strip(bounds.ASCII_SPACES) if isinstance(value, str) else ""
    if spelt not in list(Interval):
        raise ValueError(f"must be one of {', '.join(Interval)}")
    return Interval(spelt)


def _reason(value: object) -> str:
    """Read any reason. A trip takes effect however it is explained."""
    return "" if value is None else bounds.without_unfit(str(value)[:REASON_LENGTH])


def _fit(value: str) -> str:
    if character := bounds.unfit_character(value):
        raise ValueError(f"must not contain the character {character}")
    return value


def _stored(decimals: int) -> AfterValidator:
    """Return a validator that rounds to the column's decimals, so that the value is read back equal."""
    return AfterValidator(lambda value: bounds.rounded(value, decimals))


Amount = Annotated[Decimal, Field(ge=SMALLEST, le=LARGEST, allow_inf_nan=False), _stored(bounds.DECIMALS)]
Positive = Annotated[Amount, BeforeValidator(_number)]
OptionalPositive = Annotated[Amount | None, BeforeValidator(_optional_number)]
PositiveOrAbsent = Annotated[Amount | None, BeforeValidator(_absent_when_zero)]
Fraction = Annotated[
    Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False), _stored(CONFIDENCE_DECIMALS)] | None,
    BeforeValidator(_optional_number),
]
Leverage = Annotated[Annotated[int, Field(ge=1, le=MAX_LEVERAGE)] | None, BeforeValidator(_leverage)]
Seconds = Annotated[Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] | None, BeforeValidator(_seconds)]
Share = Annotated[Annotated[Decimal, Field(ge=Decimal("0.001"), le=1, decimal_places=12)], BeforeValidator(_number)]
Percent = Annotated[
    Annotated[Decimal, Field(ge=Decimal("0.001"), le=100), _stored(bounds.DECIMALS)], BeforeValidator(_number)
]
OptionalPercent = Annotated[
    Annotated[Decimal, Field(ge=Decimal("0.001"), le=100), _stored(bounds.DECIMALS)] | None,
    BeforeValidator(_absent_when_zero),
]
EquityPercent = Annotated[
    Annotated[Decimal, Field(ge=Decimal("0.01"), le=MOST_EQUITY_PERCENT), _stored(bounds.DECIMALS)] | None,
    BeforeValidator(_absent_when_zero),
]
Multiple = Annotated[
    Annotated[Decimal, Field(ge=Decimal("0.01"), le=MOST_MULTIPLE), _stored(bounds.DECIMALS)] | None,
    BeforeValidator(_absent_when_zero),
]
OptionalInterval = Annotated[Interval | None, BeforeValidator(_interval)]
Period = Annotated[Annotated[int, Field(ge=LEAST_PERIOD, le=MOST_PERIOD)] | None, BeforeValidator(_period)]
ShortText = Annotated[
    str, BeforeValidator(lambda value: "" if value is None else value), Field(max_length=100), AfterValidator(_fit)
]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_fit)]
Moment = Annotated[
    datetime | None, BeforeValidator(lambda value: None if value is None or value == "" else bounds.moment_of(value))
]
Symbol = Annotated[
    str,
    BeforeValidator(
        lambda value: bounds.capitals(value.strip(bounds.ASCII_SPACES)) if isinstance(value, str) else value
    ),
    Field(min_length=5, max_length=40, pattern=r"^[A-Z0-9_\u4e00-\u9fff]+$"),
]


class Incoming(BaseModel):
    """The base of all incoming events: unknown fields are ignored, because producers add new ones first."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class OrderFields(Incoming):
    """A decision to trade. A field that is not read is refused when it would change what the order means."""

    @model_validator(mode="before")
    @classmethod
    def nothing_is_swallowed(cls, payload: object) -> object:
        """Refuse a payload with a field that is not read and would change the order's meaning."""
        if isinstance(payload, Mapping) and (broken := list(not_read(payload, cls.known_part(payload)))):
            raise ValueError("\n".join(f"{name}: {rule}" for name, rule in broken))
        return payload

    @classmethod
    def known_part(cls, payload: Mapping[str, object]) -> ReadFields:
        """Return which fields are read, with the order's side and whether it is a LIMIT order."""
        return ReadFields(known=cls.read_fields(), side=payload.get("side"), limit=payload.get("price") is not None)

    @classmethod
    def read_fields(cls) -> frozenset[str]:
        """Return the names of the fields and of the envelope, which stand together in the flat wire form."""
        return frozenset({*cls.model_fields, *ENVELOPE_FIELDS})


class AiDecision(OrderFields):
    """`ai.decision.made`, sized by `position_size_usd`.

    `quantity` is not read, because its unit differs by producer.
    """

    symbol: Symbol
    side: Direction | None = Field(validation_alias=AliasChoices("side", "action"))
    confidence: Fraction = None
    entry_price: PositiveOrAbsent = None
    position_size_usd: PositiveOrAbsent = None
    equity_percent: EquityPercent = None
    risk_usd: PositiveOrAbsent = None
    risk_percent: OptionalPercent = None
    leverage: Leverage = None
    stop_loss: PositiveOrAbsent = None
    stop_loss_percent: OptionalPercent = None
    stop_loss_atr: Multiple = None
    take_profit: PositiveOrAbsent = None
    take_profit_percent: OptionalPercent = None
    take_profit_r: Multiple = None
    take_profit_atr: Multiple = None
    atr_interval: OptionalInterval = None
    atr_period: Period = None
    trail_percent: PositiveOrAbsent = None
    model: ShortText = ""
    strategy: ShortText = ""
    meta_strategy: ShortText = ""
    regime: ShortText = ""
    timestamp: Moment = None

    @field_validator("side", mode="before")
    @classmethod
    def read_side(cls, value: object) -> Direction | None:
        """Return None for `hold`, which is a decision not to trade."""
        return None if _word(value) == HOLD else _direction(value, allowed=(*DIRECTIONS, HOLD))

    @classmethod
    def known_part(cls, payload: Mapping[str, object]) -> ReadFields:
        """Take `action` for a missing `side`, and let `quantity` pass, which the contract sends."""
        names = {*cls.read_fields(), "quantity"} | (set() if "side" in payload else {"action"})
        return ReadFields(known=frozenset(names), side=payload.get("side"), limit=False)

    @model_validator(mode="after")
    def has_a_size(self) -> "AiDecision":
        if self.side is not None and all(getattr(self, name) is None for name in AI_SIZES):
            others = ", ".join(AI_SIZES[1:])
            raise ValueError(f"position_size_usd: must be a positive number of US dollars, else one of {others}")
        _one_each(self, AI_SIZES)
        return self

    @model_validator(mode="after")
    def exits_agree(self) -> "AiDecision":
        _one_each(self, STOP_FORMS)
        _one_each(self, TARGET_FORMS)
        _atr_is_named(self, used=self.stop_loss_atr is not None or self.take_profit_atr is not None)
        return self


class Part(BaseModel):
    """An object within an order: every field changes what the order means, so an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TargetIn(Part):
    """One of several targets, by its price or by its distance. `share` is a fraction of the position."""

    price: OptionalPositive = None
    percent: OptionalPercent = None
    r: Multiple = None
    atr: Multiple = None
    share: Share

    @model_validator(mode="after")
    def has_one_level(self) -> "TargetIn":
        if sum(level is not None for level in (self.price, self.percent, self.r, self.atr)) != 1:
            raise ValueError("must have one of price, percent, r, atr")
        return self


class TrailingIn(Part):
    """A trailing stop: how far the price may come back, in percent, and from which price on it follows."""

    callback_percent: Percent
    activation_price: OptionalPositive = None
    activation_percent: OptionalPercent = None
    activation_r: Multiple = None
    activation_atr: Multiple = None

    @model_validator(mode="after")
    def has_one_activation(self) -> "TrailingIn":
        _one_each(self, ("activation_price", "activation_percent", "activation_r", "activation_atr"))
        return self


class ManualOrder(OrderFields):
    """`signal.execute` and POST /api/execution/order: a LIMIT order with `price`, else a MARKET order.

    `quantity` is in the base asset; instead of it the size may be given in USD, by the equity or by the risk.
    """

    symbol: Symbol
    side: Direction
    quantity: OptionalPositive = None
    notional_usd: OptionalPositive = None
    equity_percent: EquityPercent = None
    risk_usd: OptionalPositive = None
    risk_percent: OptionalPercent = None
    price: OptionalPositive = None
    leverage: Leverage = None
    stop_loss: OptionalPositive = None
    stop_loss_percent: OptionalPercent = None
    stop_loss_atr: Multiple = None
    take_profit: OptionalPositive = None
    take_profit_percent: OptionalPercent = None
    take_profit_r: Multiple = None
    take_profit_atr: Multiple = None
    take_profits: list[TargetIn] = Field(default_factory=list, max_length=MAX_TARGETS)
    trail_percent: OptionalPositive = None
    trailing: TrailingIn | None = None
    atr_interval: OptionalInterval = None
    atr_period: Period = None
    break_even: bool | None = None
    time_in_force: TimeInForce | None = None
    expires_at: Moment = None
    expires_in_seconds: Seconds = None
    time_exit_seconds: Seconds = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    request_id: ShortText = ""
    requested_by: ShortText = ""
    timestamp: Moment = None

    @field_validator("side", mode="before")
    @classmethod
    def read_side(cls, value: object) -> Direction:
        return _direction(value, allowed=tuple(DIRECTIONS))

    @field_validator("price", mode="before")
    @classmethod
    def read_price(cls, value: object) -> object:
        """Refuse an empty price: a price that got lost must not make a MARKET order."""
        if isinstance(value, str) and not value.strip():
            raise ValueError("must be a positive number, or left out for a MARKET order")
        return value

    @field_validator("time_in_force", mode="before")
    @classmethod
    def read_time_in_force(cls, value: object) -> TimeInForce | None:
        if value is None or value == "":
            return None
        found = TIMES_IN_FORCE.get(_word(value))
        if found is None:
            raise ValueError("must be one of GTC, IOC, FOK, GTX, GTD, post_only")
        return found

    @field_validator("metadata", mode="before")
    @classmethod
    def read_metadata(cls, value: object) -> object:
        return {} if value is None or value == "" else _notes(value)

    @field_validator("take_profits", mode="before")
    @classmethod
    def read_targets(cls, value: object) -> object:
        return [] if value is None or value == "" else value

    @field_validator("trailing", "break_even", mode="before")
    @classmethod
    def read_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def has_one_size(self) -> "ManualOrder":
        if all(getattr(self, name) is None for name in ORDER_SIZES):
            raise ValueError(f"quantity: must be sent, or one of {', '.join(ORDER_SIZES[1:])}")
        _one_each(self, ORDER_SIZES)
        return self

    @model_validator(mode="after")
    def only_a_limit_order_expires(self) -> "ManualOrder":
        for name in ("time_in_force", "expires_at", "expires_in_seconds"):
            if getattr(self, name) is not None and self.price is None:
                raise ValueError(f"{name}: must be sent together with price, for a LIMIT order")
        return self

    @model_validator(mode="after")
    def end_fits_time_in_force(self) -> "ManualOrder":
        ends = [name for name in ("expires_at", "expires_in_seconds") if getattr(self, name) is not None]
        if len(ends) > 1:
            raise ValueError("expires_at: must not be sent together with expires_in_seconds")
        kind = self.time_in_force
        if kind is TimeInForce.GTD and not ends:
            raise ValueError("expires_at: must be sent with time_in_force GTD, or expires_in_seconds")
        if ends and kind in {TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK}:
            raise ValueError(f"{ends[0]}: must not be sent with time_in_force {kind}; use GTD or GTX")
        return self

    @model_validator(mode="after")
    def exits_agree(self) -> "ManualOrder":
        _one_each(self, STOP_FORMS)
        _one_each(self, TARGET_FORMS)
        for name in TARGET_FORMS:
            if self.take_profits and getattr(self, name) is not None:
                raise ValueError(f"take_profits: must not be sent together with {name}")
        if sum(target.share for target in self.take_profits) > 1:
            raise ValueError("take_profits: shares must add up to 1 at most")
        if self.trailing and self.trail_percent is not None:
            raise ValueError("trailing: must not be sent together with trail_percent")
        multiples = [self.stop_loss_atr, self.take_profit_atr, *(target.atr for target in self.take_profits)]
        if self.trailing:
            multiples.append(self.trailing.activation_atr)
        _atr_is_named(self, used=any(each is not None for each in multiples))
        return self


class RestOrder(ManualOrder):
    """POST /api/execution/order: every unknown field is refused, as the client is answered at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def nothing_is_swallowed(cls, payload: object) -> object:
        """Leave unknown fields to the model, which names each of them beside all other errors."""
        return payload


class EssTripped(Incoming):
    """`ess.tripped`. Its producers have only the reason in common."""

    reason: Annotated[str, BeforeValidator(_reason)] = ""
    timestamp: Moment = Field(None, validation_alias=AliasChoices("timestamp", "trip_time"))


class EssStateChanged(EssTripped):
    """`ess.state.changed`, with the state of the emergency stop now."""

    new_state: Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_fit)]


class PolicyUpdated(Incoming):
    """`policy.updated`: one key, or a change of the whole policy (then `key` is empty)."""

    key: ShortText = ""
    new_value: object = None


class ModelPromoted(Incoming):
    """`model.promoted`."""

    model: Name = Field(validation_alias=AliasChoices("model_name", "model_type"))
    old_version: ShortText = ""
    new_version: Name
    promoted_at: Moment = None


def schema_errors(error: ValidationError, schema: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield each field with the rule that it broke. The value is left out: it may be long or secret."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"])
        rule = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            yield field, not_known(str(problem["loc"][-1]), schema.model_fields if len(problem["loc"]) == 1 else ())
        elif field:
            yield field, rule
        else:
            # A rule about the whole names its field itself.
            for line in rule.splitlines():
                name, colon, broken = line.partition(": ")
                yield (name, broken) if colon else ("", line)


def _one_each(order: BaseModel, names: Iterable[str]) -> None:
    """Refuse an order that gives one thing in two ways."""
    sent = [name for name in names if getattr(order, name) is not None]
    if len(sent) > 1:
        raise ValueError(f"{sent[1]}: must not be sent together with {sent[0]}")


def _atr_is_named(order: BaseModel, *, used: bool) -> None:
    """Refuse multiples of an ATR that is not named, and an ATR that nothing is a multiple of."""
    for name in ATR_TERMS:
        if used and getattr(order, name) is None:
            raise ValueError(f"{name}: must be sent with a distance in multiples of the ATR")
        if not used and getattr(order, name) is not None:
            raise ValueError(f"{name}: must not be sent without a distance in multiples of the ATR")


def _notes(value: object) -> object:
    """Return notes as plain JSON that can be stored, read back and shown.

    Raises:
        ValueError: nested too deeply, too long, or with a number or character that has no place.

    """
    if problem := bounds.json_problem(value, deepest=METADATA_DEPTH):
        raise ValueError(problem)
    plain = _plain_json(value)
    if len(json.dumps(plain)) > METADATA_BYTES:
        raise ValueError(f"must be at most {METADATA_BYTES} bytes of JSON")
    return plain


def _plain_json(value: object) -> object:
    """Turn the Decimals of `parse_json` into plain JSON numbers, which are exact enough for notes."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _plain_json(entry) for name, entry in value.items()}
    return [_plain_json(entry) for entry in value] if isinstance(value, list) else value


def _word(value: object) -> str:
    return bounds.small(value.strip(bounds.ASCII_SPACES)) if isinstance(value, str) else ""


def _direction(value: object, *, allowed: tuple[str, ...]) -> Direction:
    direction = DIRECTIONS.get(_word(value))
    if direction is None:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return direction
