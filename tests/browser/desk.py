"""An operator before a browser: the running stack, its paper exchange, and a page whose faults are collected."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from axe_playwright_python.sync_playwright import Axe
from binance.um_futures import UMFutures
from playwright.sync_api import Browser, BrowserContext, Page

from execution_project.env import PAPER_KEY, PAPER_SECRET
from tests.local_stack.started import Run, running
from tests.support.waiting import eventually

START_SECONDS, STOP_SECONDS = 300.0, 120.0
# A step that takes a moment may take far longer on a machine that does other work.
PATIENCE_MS = 60_000
GRAVE = {"serious", "critical"}
WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", event =>
        window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(kw_only=True)
class Service:
    """The addresses of a running stack, and the doors that everybody has: REST and the exchange."""

    url: str
    password: str
    paper_url: str
    exchange: UMFutures

    def order(self, **fields: object) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/api/execution/order", json=fields, timeout=30)
        found: dict[str, Any] = answer.json()
        return found

    def trade(self, trade_id: str) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/api/execution/trades/{trade_id}", timeout=30).json()
        return found

    def price(self, symbol: str) -> Decimal:
        return Decimal(self.exchange.ticker_price(symbol)["price"])

    def move_price(self, symbol: str, price: Decimal) -> None:
        body = {"symbol": symbol, "price": f"{price:f}", "hold": True}
        requests.post(f"{self.paper_url}/paper/price", json=body, timeout=10).raise_for_status()

    def stops(self, symbol: str) -> list[Decimal]:
        """Return the trigger prices of the stops that rest at the exchange."""
        orders = self.exchange.sign_request("GET", "/fapi/v1/openAlgoOrders", {"symbol": symbol})
        return [Decimal(each["triggerPrice"]) for each in orders if each["orderType"] == "STOP_MARKET"]

    def resting(self, symbol: str) -> int:
        return len(self.exchange.get_orders(symbol=symbol))

    def held(self, symbol: str) -> Decimal:
        return sum((Decimal(row["positionAmt"]) for row in self.exchange.get_position_risk(symbol=symbol)), Decimal(0))


@contextmanager
def service() -> Iterator[Service]:
    """Start the whole local stack on free ports, and stop it at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="execution-browser-") as folder,
        running(Path(folder), DEMO_DECISIONS="0", POSITION_MONITOR_INTERVAL_SEC="2") as run,
    ):
        eventually(lambda: is_up(run), within=START_SECONDS, what="the stack is up", every=0.2)
        paper_url = run.find(r"Paper exchange +(\S+)")
        exchange = UMFutures(key=PAPER_KEY, secret=PAPER_SECRET, base_url=paper_url, timeout=10)
        exchange.session.trust_env = False
        try:
            yield Service(
                url=run.find(r"Service +(\S+)/health"),
                password=run.find(r"Admin .*password (\S+)"),
                paper_url=paper_url,
                exchange=exchange,
            )
        finally:
            # It deletes its state at the end, which takes a while on a slow disk.
            run.process.terminate()
            run.process.wait(STOP_SECONDS)


def is_up(run: Run) -> bool:
    assert run.process.poll() is None, run.text()
    return "Logs " in run.text()


@dataclass(kw_only=True)
class Operator:
    """One browser window. `faults`: what console, scripts and the policy of a page have complained about."""

    service: Service
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.service.url}{path}")
        self.settle()

    def settle(self) -> None:
        """Wait until the page has loaded, and collect violations of its policy."""
        self.page.wait_for_load_state()
        self.collect()

    def collect(self) -> None:
        found: list[str] = self.page.evaluate("window.violations.splice(0)")
        self.faults += [f"policy of {self.page.url}: {each}" for each in found]

    def sign_in(self) -> None:
        """Sign in by keyboard alone, from the dashboard and back to it."""
        self.open("/")
        self.page.wait_for_url("**/admin/login/?next=/")
        self.page.wait_for_function("!document.documentElement.hasAttribute('x-cloak')")
        self.page.focus("input[name=username]")
        self.page.keyboard.type("admin")
        self.page.keyboard.press("Tab")
        self.page.focus("input[name=password]")
        self.page.keyboard.type(self.service.password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{self.service.url}/")
        self.settle()

    def text(self, selector: str = "main") -> str:
        return " ".join(self.page.inner_text(selector).split())

    def tab_to(self, words: str, *, most: int = 80) -> None:
        """Press Tab until what has the focus reads so."""
        seen: list[str] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            focused = "document.activeElement"
            text: str = self.page.evaluate(f"({focused}.innerText || {focused}.name || '').trim()")
            if text == words:
                return
            seen.append(text)
        raise AssertionError(f"no way to {words!r} by Tab; passed {seen}")

    def wide_by(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width: int = self.page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        return max(0, width)

    def findings(self) -> list[str]:
        """Return what axe-core finds serious or critical."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in found if each["impact"] in GRAVE]


@contextmanager
def operator(browser: Browser, at: Service, *, size: str = "desktop", colours: str = "light") -> Iterator[Operator]:
    """Open a window of its own, with sign-in and faults of its own."""
    width, height = WIDTHS[size]
    options: Mapping[str, Any] = {"viewport": {"width": width, "height": height}, "color_scheme": colours}
    context = browser.new_context(reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    found = Operator(service=at, context=context, page=page)
    page.on("pageerror", lambda error: found.faults.append(f"script of {page.url}: {error}"))
    page.on("console", lambda line: found.faults.extend([f"{page.url}: {line.text}"] if line.type == "error" else []))
    yield found
    context.close()
