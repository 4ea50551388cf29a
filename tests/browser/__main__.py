"""An operator's day at the dashboard in headless Chromium: `python -m tests.browser [--docs]`; `make browser`.

It starts the whole local stack with its paper exchange, and checks after each step what the screen shows and what the
exchange has. It prints a line a step, keeps pictures in `.local/browser` (with `--docs` in docs/screenshots as well),
and exits 1 when a step fails.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.browser.desk import WIDTHS, Operator, Service, operator, service
from tests.screenshots.__main__ import picture
from tests.screenshots.chromium import NoBrowserError, chromium
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
REPORT, DOCS = ROOT / ".local" / "browser", ROOT / "docs" / "screenshots" / "dashboard"
SYMBOL, OTHER = "BTCUSDT", "ETHUSDT"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
CENT = Decimal("0.1")


@dataclass(kw_only=True)
class Day:
    """One run: who acts where, what was opened, and what each step has found."""

    browser: Browser
    service: Service
    desk: Operator
    folders: list[Path]
    trade_id: str = ""
    entry: Decimal = Decimal(0)
    notes: dict[str, str] = field(default_factory=dict)

    def keep_picture(self, name: str, desk: Operator | None = None) -> None:
        for folder in self.folders:
            picture((desk or self.desk).page, folder / f"{name}.png")

    def by_screen(self, condition: Callable[[], object], what: str, *, within: float = 20.0) -> float:
        """Wait until the screen shows something, and return how many seconds that took."""
        begun = time.monotonic()
        eventually(condition, within=within, what=what, every=0.02)
        return time.monotonic() - begun


def signs_in_by_keyboard(day: Day) -> str:
    day.desk.sign_in()
    day.by_screen(lambda: "live" in day.desk.text("#connection"), "the page is live")
    assert "Open positions: 0" in day.desk.text()
    return "from / to the sign-in and back, live"


def shows_a_trade_without_reload(day: Day) -> str:
    """Place an order, and see its position within a second of the answer, in the page that is open already."""
    day.desk.page.evaluate("window.opened = true")
    price = day.service.price(SYMBOL)
    levels = {"stop_loss": round(price * Decimal("0.98")), "take_profit": round(price * Decimal("1.04"))}
    answer = day.service.order(symbol=SYMBOL, side="long", quantity=0.01, leverage=10, **levels)
    assert answer["status"] == "filled", answer
    day.trade_id = answer["trade_id"] if "trade_id" in answer else answer["request_id"]
    seconds = day.by_screen(lambda: f"{SYMBOL} LONG 0.01" in day.desk.text(), "the position is shown")
    day.by_screen(lambda: "protected" in day.desk.text("#board"), "its protection is shown")
    day.entry = Decimal(str(day.service.trade(day.trade_id)["entry_price"]))
    assert day.desk.page.evaluate("window.opened") is True
    assert seconds <= 1.0, f"the position was shown {seconds:.2f} s after the answer"
    return f"shown {seconds:.2f} s after the order's answer"


def follows_the_price(day: Day) -> str:
    before = day.desk.text("#board")
    assert "+0.50" not in before
    day.service.move_price(SYMBOL, day.entry + 300)
    seconds = day.by_screen(lambda: "+3.0" in day.desk.text("#board") or "+2.9" in day.desk.text("#board"), "PnL moves")
    assert day.desk.page.evaluate("window.opened") is True
    day.keep_picture("dashboard")
    return f"PnL of about +3 USD after {seconds:.1f} s (the monitor reads every 2 s)"


def draws_the_trade(day: Day) -> str:
    day.desk.page.keyboard.press("Tab")
    day.desk.tab_to(SYMBOL)
    day.desk.page.keyboard.press("Enter")
    day.desk.page.wait_for_url(f"**/dashboard/trades/{day.trade_id}")
    return await_chart(day)


def await_chart(day: Day) -> str:
    day.desk.page.wait_for_selector("#chart[data-drawn]")
    day.desk.settle()
    candles = int(day.desk.page.get_attribute("#chart", "data-drawn") or 0)
    assert candles > 0
    return f"{candles} candles; {day.desk.text('#levels')}"


def moves_the_stop_by_keyboard(day: Day) -> str:
    price = (day.entry * Decimal("0.99")).quantize(CENT)
    day.desk.tab_to("Move stop")
    day.desk.page.keyboard.press("Enter")
    day.desk.page.wait_for_url("**/stop")
    day.desk.tab_to("price")
    day.desk.page.keyboard.type(f"{price}")
    day.desk.page.keyboard.press("Tab")
    day.desk.page.keyboard.type("the market turns")
    day.desk.page.keyboard.press("Tab")
    day.desk.page.keyboard.press("Space")
    day.desk.page.keyboard.press("Tab")
    day.desk.page.keyboard.press("Enter")
    day.desk.page.wait_for_url(f"**/dashboard/trades/{day.trade_id}")
    eventually(lambda: day.service.stops(SYMBOL) == [price], within=20, what="the stop has moved at the exchange")
    assert "The stop lies at" in day.desk.text()
    return f"the exchange has one stop, at {price}"


def brings_the_stop_to_break_even(day: Day) -> str:
    day.desk.page.click("text=Break-even")
    day.desk.page.check("input[name=confirmed]")
    price = Decimal(day.desk.page.input_value("input[name=price]"))
    assert price > day.entry
    day.desk.page.click("button:has-text('Move the stop')")
    day.desk.page.wait_for_url(f"**/dashboard/trades/{day.trade_id}")
    eventually(lambda: day.service.stops(SYMBOL) == [price], within=20, what="the stop is at break-even")
    return f"entry {day.entry}, stop {price}"


def shows_levels_after_a_partial_close(day: Day) -> str:
    """Let another client close half, and see the exit and every level that the stop had."""
    day.service.exchange.new_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.005", reduceOnly="true")
    eventually(lambda: "REDUCED" in reloaded(day), within=30, what="the trade is reduced", every=0.5)
    await_chart(day)
    levels = day.desk.text("#levels")
    assert levels.count("then") == 2, levels
    assert levels.index("target 1") > levels.index("stop")
    rows = day.desk.page.locator("section:has(#fills-head) tbody tr").count()
    assert rows >= 2
    # What the picture shows needs a moment to be painted.
    day.desk.page.wait_for_timeout(500)
    day.keep_picture("trade")
    return f"{rows} fills; {levels}"


def reloaded(day: Day) -> str:
    day.desk.open(f"/dashboard/trades/{day.trade_id}")
    return day.desk.text()


def cancels_a_resting_entry_by_the_kill_switch(day: Day) -> str:
    price = day.service.price(OTHER)
    limit = round(price * Decimal("0.97"))
    fields = {
        "price": limit,
        "stop_loss": round(limit * Decimal("0.98")),
        "take_profit": round(limit * Decimal("1.04")),
    }
    answer = day.service.order(symbol=OTHER, side="long", quantity=0.1, leverage=10, **fields)
    assert day.service.resting(OTHER) == 1, answer
    day.desk.open("/")
    day.by_screen(lambda: f"{OTHER} ACCEPTED BUY LIMIT" in day.desk.text(), "the entry is shown as resting")
    engage(day, "halt")
    eventually(lambda: day.service.resting(OTHER) == 0, within=20, what="the entry is cancelled at the exchange")
    assert day.service.held(SYMBOL) == Decimal("0.005")
    day.desk.open("/")
    day.by_screen(lambda: "No entry rests." in day.desk.text(), "no entry is shown")
    assert "Kill switch: halt" in day.desk.text()
    return "halt: cancelled at the exchange, the position stays"


def engage(day: Day, level: str) -> None:
    """Go from the dashboard's button to the switch, and confirm what it shows."""
    day.desk.page.click("#kill-switch")
    day.desk.page.wait_for_url("**/killswitch/move/")
    day.desk.page.check(f"input[name=level][value={level}]")
    day.desk.page.fill("input[name=reason]", "a drill")
    day.desk.page.click("#content button[type=submit]")
    if level in {"halt", "flatten"}:
        day.desk.page.click(f"button:has-text('Confirm {level}')")
    day.desk.page.wait_for_function(f"document.body.innerText.includes('Kill switch: {level}')")


def closes_everything_without_reload(day: Day) -> str:
    """Flatten in a second window, and see the position go in the first."""
    day.desk.page.evaluate("window.opened = true")
    with operator(day.browser, day.service) as second:
        second.sign_in()
        first, day.desk = day.desk, second
        engage(day, "flatten")
        day.desk = first
        eventually(lambda: day.service.held(SYMBOL) == 0, within=30, what="the exchange is flat")
        seconds = day.by_screen(lambda: "Open positions: 0" in first.text(), "the position has gone")
        assert first.page.evaluate("window.opened") is True
        day.desk = second
        second.open("/")
        engage(day, "released")
        day.desk = first
        first.faults += second.faults
    day.by_screen(lambda: "Kill switch: released" in first.text(), "the switch is shown as released")
    return f"gone {seconds:.2f} s after the exchange was flat"


def explains_a_denied_decision(day: Day) -> str:
    price = day.service.price(SYMBOL)
    fields = {"stop_loss": round(price * Decimal("0.99")), "take_profit": round(price * Decimal("1.04"))}
    answer = day.service.order(symbol=SYMBOL, side="long", quantity=0.01, leverage=100, **fields)
    assert answer["reason_code"] == "LEVERAGE_EXCEEDS_LIMIT", answer
    day.desk.open("/dashboard/decisions")
    day.desk.page.select_option("select[name=state]", "DENIED")
    day.desk.page.click("button:has-text('Search')")
    day.desk.settle()
    day.desk.page.click("tbody tr:first-child a")
    day.desk.settle()
    found = day.desk.text()
    assert "What would have to be different" in found
    day.keep_picture("decision")
    begin = found.index("What would have to be different")
    return found[begin : begin + 160]


def is_usable_in_every_size_and_colour(day: Day) -> str:
    """Look at every page on desktop and phone, in light and dark: axe-core, and no scrolling sideways."""
    decision = day.desk.page.url.removeprefix(day.service.url)
    trade = f"/dashboard/trades/{day.trade_id}"
    pages = {"dashboard": "/", "trade": trade, "decision": decision, "search": "/dashboard/decisions"}
    faults, views = [], 0
    for size in WIDTHS:
        for colours in ("light", "dark"):
            with operator(day.browser, day.service, size=size, colours=colours) as desk:
                desk.sign_in()
                for name, path in pages.items():
                    desk.open(path)
                    views += 1
                    faults += [f"{size} {colours} {name}: {each}" for each in desk.findings()]
                    faults += [f"{size} {colours} {name}: {desk.wide_by()} pixels too wide"] if desk.wide_by() else []
                    if size == "phone" and name in {"dashboard", "trade"}:
                        day.keep_picture(f"phone-{name}-{colours}", desk)
                day.desk.faults += desk.faults
    assert faults == [], "\n".join(faults)
    return f"{views} views without a serious finding, none wider than its window"


def has_left_no_complaint(day: Day) -> str:
    day.desk.collect()
    own = [fault for fault in day.desk.faults if "/admin/" not in fault]
    assert own == [], "\n".join(own)
    return "no console error, no script error, no violation of the policy"


STEPS: tuple[Callable[[Day], str], ...] = (
    signs_in_by_keyboard,
    shows_a_trade_without_reload,
    follows_the_price,
    draws_the_trade,
    moves_the_stop_by_keyboard,
    brings_the_stop_to_break_even,
    shows_levels_after_a_partial_close,
    cancels_a_resting_entry_by_the_kill_switch,
    closes_everything_without_reload,
    explains_a_denied_decision,
    is_usable_in_every_size_and_colour,
    has_left_no_complaint,
)


def main() -> int:
    options = parser().parse_args()
    try:
        path = chromium(may_install=options.install_browser)
    except NoBrowserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    folders = [REPORT, DOCS] if options.docs else [REPORT]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with service() as running, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(FLAGS))
        with operator(browser, running) as desk:
            results = list(walked(Day(browser=browser, service=running, desk=desk, folders=folders)))
        browser.close()
    (REPORT / "report.json").write_text(json.dumps(results, indent=2) + "\n")
    failed = sum(1 for each in results if not each["passed"])
    sys.stdout.write(f"{len(results)} of {len(STEPS)} steps, {failed} failed\n")
    return 0 if len(results) == len(STEPS) and not failed else 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.browser", description="Use the dashboard in a browser.")
    found.add_argument("--docs", action="store_true", help="write the pictures to docs/screenshots/dashboard as well")
    found.add_argument("--install-browser", action="store_true", help="install Chromium by apt where it is missing")
    return found


def walked(day: Day) -> Iterator[dict[str, Any]]:
    """Do the steps in their order, and end with the first that fails: each begins where the one before has ended."""
    for step in STEPS:
        name = step.__name__.replace("_", " ")
        try:
            found, passed = step(day), True
        except Exception as error:  # noqa: BLE001 -- whatever stops a step is its result
            found, passed = f"{type(error).__name__}: {error}", False
            day.desk.page.screenshot(path=REPORT / "failed.png")
        sys.stdout.write(f"{'ok   ' if passed else 'FAULT'} {name:<45} {found}\n")
        sys.stdout.flush()
        yield {"step": name, "passed": passed, "found": found}
        if not passed:
            return


if __name__ == "__main__":
    sys.exit(main())
