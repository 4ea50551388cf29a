"""The documents say what the code does: tables, addresses, commands and links are held against it."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import get_commands
from django.urls import get_resolver

from execution.api.serializers.events import EventOut
from execution.api.serializers.orders import OrderAnswerOut
from execution.api.serializers.positions import PositionOut
from execution.api.serializers.service import MetricsOut
from execution.api.serializers.trades import TradeOut
from execution.domain.coverage import PositionCover
from execution.domain.policy import KEYS, Looser, PolicyKey
from execution.domain.reasons import CloseReason, Reason
from execution.domain.software_stop import ProtectedBy
from execution.domain.states import ORDER_STATES, REQUEST_STATES, TRADE_STATES
from execution.domain.trading import Direction, OrderPurpose, Source
from execution.models import ExecutionRequest, Fill, Order, Position, Trade
from execution.outbox import payloads
from execution.outbox.trade_mirror import mirror_fields
from execution.signals.accept import EVENT_TYPES
from execution.signals.schemas import ManualOrder
from execution.store.levels import NO_LEVELS
from tests.unit.test_env_example import shown

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def section(page: str, heading: str) -> str:
    """Return what stands under a heading, up to the next heading of its level or above."""
    text = (ROOT / page).read_text()
    level = heading.partition(" ")[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of all tables of a section, without their heads."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    tables = [
        [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if not line.startswith("| ---") and not below.startswith("| ---")
    ]
    assert tables, f"{page} has no table under {heading!r}"
    return tables


def first_column(page: str, heading: str) -> list[str]:
    return [cells[0] for cells in rows(page, heading)]


def a_payload_each() -> dict[str, Mapping[str, Any]]:
    """Return one payload of each event that we publish."""
    one = Decimal(1)
    request = ExecutionRequest(id=uuid4(), symbol="BTCUSDT", direction=Direction.LONG, source=Source.AI, leverage=1)
    request.reference_price = one
    order = Order(side="BUY", purpose=OrderPurpose.ENTRY, quantity=one, client_order_id="es1-e", symbol="BTCUSDT")
    fill = Fill(symbol="BTCUSDT", price=one, quantity=one, commission=one, exchange_trade_id=1, buyer=True)
    trade = Trade(id=request.pk, direction=Direction.LONG, leverage=1, entry_fees=one, exit_fees=one, entry_at=NOW)
    position = Position(quantity=one, mark_price=one, initial_margin=one, unrealized_pnl=one)
    filled = payloads.order_filled(fill, order, request, one, NOW)
    return {
        payloads.ORDER_PLACED: payloads.order_placed(order, request, NOW),
        payloads.ORDER_FILLED: filled,
        payloads.ORDER_EXECUTED: filled,
        payloads.ORDER_FAILED: payloads.order_failed(symbol="", side="", reason=("", ""), now=NOW),
        payloads.TRADE_OPENED: payloads.trade_opened(trade, request, order, NOW),
        payloads.TRADE_CLOSED: payloads.trade_closed(trade, request, order, NOW),
        payloads.POSITION_UPDATED: payloads.position_updated(
            position,
            leverage=1,
            cover=PositionCover(has_tp_sl=True, protected=True, protected_by=ProtectedBy.VENUE),
            levels=NO_LEVELS,
            now=NOW,
        ),
    }


def mirror() -> Mapping[str, str]:
    one = Decimal(1)
    amounts = dict.fromkeys(
        ("quantity", "exited_quantity", "margin_usd", "entry_price", "stop_price", "target_price"), one
    )
    request = ExecutionRequest(id=uuid4(), symbol="BTCUSDT")
    trade = Trade(id=request.pk, request=request, leverage=1, entry_at=NOW, updated_at=NOW, **amounts)
    trade.entry_fees = trade.exit_fees = trade.funding = one
    return mirror_fields(trade, NO_LEVELS)


def test_the_settings_are_those_of_the_example() -> None:
    expected = [[name, default, sentence[2:].replace("|", "/")] for name, (default, sentence) in shown().items()]

    assert rows("docs/configuration.md", "## Settings") == [
        [cell.replace("`", "") for cell in cells] for cells in expected
    ]


def test_the_readme_shows_true_defaults() -> None:
    defaults = {name: default for name, (default, _) in shown().items()}

    for name, default, _ in rows("README.md", "## Configuration"):
        assert defaults[name] == default, name


def direction(key: PolicyKey) -> str:
    """Return the page's words for which way a key loosens."""
    word = {Looser.HIGHER: "up", Looser.LOWER: "down", Looser.EITHER: "any"}[key.looser]
    return f"{word} or 0" if key.zero_is_off else word


def test_the_policy_keys_are_those_of_the_code() -> None:
    expected = [
        [key.name, key.unit, f"{key.default:f}", f"{key.minimum:f} to {key.maximum:f}", direction(key), key.meaning]
        for key in KEYS.values()
    ]

    assert rows("docs/configuration.md", "## Policy") == expected


@pytest.mark.parametrize(
    ("heading", "table"), [("### Requests", REQUEST_STATES), ("### Orders", ORDER_STATES), ("### Trades", TRADE_STATES)]
)
def test_the_life_cycles_are_those_of_the_code(heading: str, table: Mapping[tuple[str, str], str]) -> None:
    expected = [[str(state), str(trigger), str(following)] for (state, trigger), following in table.items()]

    assert rows("docs/architecture.md", heading) == expected


def test_the_rooms_are_the_layers() -> None:
    contract = (ROOT / ".importlinter").read_text().partition("\nlayers =\n")[2].partition("\n\n")[0]
    lines = section("docs/architecture.md", "## Rooms").partition("execution/\n")[2].partition("```")[0].splitlines()

    # It should name every room, in an order in which no import runs up.
    rooms = [[name.rstrip("/").removesuffix(".py") for name in line[:29].split()] for line in lines]
    shown = [set(room) for room in rooms]
    for layer in ({name.strip() for name in line.split("|")} for line in contract.splitlines()):
        found: set[str] = set()
        while found < layer:
            found |= shown.pop(0)
        assert found == layer
    assert shown == []


def test_the_glossary_is_in_alphabetical_order() -> None:
    text = (ROOT / "docs/glossary.md").read_text()
    terms = re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE)[2:]

    assert len(terms) > 50
    assert terms == sorted(set(terms), key=str.lower)


def test_the_addresses_are_those_of_the_service() -> None:
    documented = {
        cells[0].split()[1]
        for cells in rows("docs/contracts.md", "## REST")
        if cells[0].startswith(("GET ", "POST ", "PATCH "))
    }

    assert documented == set(addresses(get_resolver().url_patterns))


def addresses(patterns: Iterable[Any], before: str = "/") -> Iterable[str]:
    """Return the API's addresses as people write them."""
    for pattern in patterns:
        route = before + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if route.startswith(("/admin", "/dashboard")):
            continue
        if hasattr(pattern, "url_patterns"):
            yield from addresses(pattern.url_patterns, route)
        else:
            kind = "request" if "/requests" in route else "trade"
            route = route.replace("(?P<table>[^/]+)", "{table}").replace("<str:token>", "{token}")
            yield re.sub(r"\(\?P<pk>.*?\]\+\)", f"{{{kind}_id}}", route).replace("\\Z", "")


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("### GET /api/execution/positions", PositionOut().fields),
        ("### GET /api/execution/trades", TradeOut().fields),
        ("### GET /api/execution/events", EventOut().fields),
        ("### GET /api/execution/metrics", MetricsOut().fields),
        ("### POST /api/execution/order", [*ManualOrder.model_fields, *OrderAnswerOut().fields]),
    ],
)
def test_the_fields_are_those_of_the_api(heading: str, names: Iterable[str]) -> None:
    assert first_column("docs/contracts.md", heading) == list(names)


def test_the_events_in_are_those_that_are_read() -> None:
    assert set(first_column("docs/contracts.md", "### Events in")) == set(EVENT_TYPES)


def test_the_events_out_have_the_documented_fields() -> None:
    documented = {cells[0]: cells[2] for cells in rows("docs/contracts.md", "### Events out")}
    expected = {name: ", ".join(payload) for name, payload in a_payload_each().items()}

    assert documented == expected | {payloads.ORDER_EXECUTED: f"as {payloads.ORDER_FILLED}"}


def test_the_mirror_has_the_documented_fields() -> None:
    text = section("docs/contracts.md", "## The mirror in Redis")

    assert re.search(r"string values: (.*)\. It is", text.replace("\n", " ").replace("`", ""))[1] == ", ".join(mirror())  # type: ignore[index]


def test_every_reason_is_explained() -> None:
    assert set(first_column("docs/operations.md", "### Reason codes")) == set(Reason)
    assert set(first_column("docs/operations.md", "### Close reasons")) == set(CloseReason)


def test_every_metric_of_prometheus_is_explained() -> None:
    source = (ROOT / "execution/api/prometheus.py").read_text()
    names = re.findall(r'(?:gauge|labelled|counted)\(\s*"(\w+)"', source) + re.findall(r'PREFIX \+ "(\w+)"', source)

    documented = {name.partition("{")[0] for name in first_column("docs/operations.md", "### Metrics")}
    assert {name.removesuffix("_total") for name in documented} == {f"execution_{name}" for name in names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    # It should name only commands that there are.
    assert (
        set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= targets
    )
    assert set(re.findall(r"manage\.py (\w+)", text)) <= set(get_commands())
    # It should link only to pages that there are.
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    # It should name only files that there are.
    named = re.findall(r"`((?:execution|execution_project|paper_exchange|local_stack|tests|docs)/[\w./]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_decisions_have_a_number_each_and_are_short() -> None:
    """A gap is a number that was reserved for a decision that has not landed."""
    numbers = [page.name[:4] for page in ADRS]
    assert all(number.isdecimal() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for page in ADRS:
        paragraphs = [part for part in page.read_text().split("\n\n") if part.strip() and not part.startswith("#")]
        assert len(paragraphs) <= 4, page.name
