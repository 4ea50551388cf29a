"""Pictures of the admin, desktop and phone: `python -m tests.screenshots [--docs after]`; `make screenshots`.

Each page is looked at by axe-core as well, in light and dark colours, and measured: exit code 1 when a finding is
serious or critical, when a page is wider than its window, or when a profit or loss is cut off.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.screenshots.chromium import NoBrowserError, chromium
from tests.screenshots.site import USER, Site, site

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / ".local" / "screenshots"
DOCS = ROOT / "docs" / "screenshots"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
COLOURS = ("light", "dark")
GRAVE = {"serious", "critical"}
PALETTE = 96
CONFIRM = "kill-switch-confirm"
# A page takes half a second; a machine that does other work beside it may need far longer.
PATIENCE_MS = 120_000
# Cells of lists and tables that say what was won or lost, old and new names.
RESULTS = "td.field-net, td.field-net_pnl, td.field-pnl, td.field-unrealized_pnl"
MENU = "#nav-sidebar-apps a"
RIGHT_EDGE = """cells =>
    Math.max(0, ...[...document.querySelectorAll(cells)].map(cell => cell.getBoundingClientRect().right))"""


@dataclass(frozen=True, kw_only=True)
class View:
    """One page in one size; `fault` says what is wrong with it, empty when nothing is."""

    page: str
    size: str
    colours: str
    fault: str


def main() -> int:
    options = parser().parse_args()
    try:
        path = chromium(may_install=options.install_browser)
    except NoBrowserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    folder = DOCS / options.docs if options.docs else REPORT
    folder.mkdir(parents=True, exist_ok=True)
    with site() as here, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        views = list(looked_at(here, browser, folder, pages_of(here, options.docs)))
        browser.close()
    return report(views, only_shown=options.docs == "before")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.screenshots", description="Take pictures of the admin.")
    found.add_argument("--docs", choices=("before", "after"), help="write them to docs/screenshots; before never fails")
    found.add_argument("--install-browser", action="store_true", help="install Chromium by apt where it is missing")
    return found


def looked_at(here: Site, browser: Browser, folder: Path, pages: Mapping[str, str]) -> Iterator[View]:
    """Look at every page in every size, in light colours with a picture."""
    for size, (width, height) in SIZES.items():
        for colours in COLOURS:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if colours == "dark" else "light",
                reduced_motion="reduce",
            )
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            sign_in(page, here)
            for name, address in pages.items():
                show(page, here.url + address, name)
                if colours == "light":
                    picture(page, folder / f"{size}-{name}.png")
                fault = "; ".join((*findings(page), *measured(page, width)))
                yield View(page=name, size=size, colours=colours, fault=fault)
            if (size, colours) == ("phone", "light"):
                yield from all_of_them(page, here, width)
            context.close()


def all_of_them(page: Page, here: Site, width: int) -> Iterator[View]:
    """Measure every list of the menu, and the first row of each, on the phone."""
    page.goto(f"{here.url}/admin/")
    lists = page.eval_on_selector_all(MENU, "links => links.map(link => link.getAttribute('href'))")
    for address in dict.fromkeys(lists):
        show(page, here.url + address, address)
        yield View(page=address, size="phone", colours="light", fault="; ".join(measured(page, width)))
        row = page.query_selector("#result_list tbody th a")
        if row and (target := row.get_attribute("href")):
            show(page, here.url + target, target)
            yield View(page=target, size="phone", colours="light", fault="; ".join(measured(page, width)))


def picture(page: Page, path: Path) -> None:
    """Take one with a palette of its own: half the bytes, and nobody sees it."""
    whole = Image.open(BytesIO(page.screenshot()))
    whole.convert("RGB").quantize(PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def pages_of(here: Site, docs: str | None) -> dict[str, str]:
    """Return the address of every page by name; `kill-switch-confirm` comes behind a form, and was not there before."""
    trade, letter = here.shown.trade.pk, here.shown.letter.pk
    pages = {
        "home": "/admin/",
        "trades": "/admin/execution/trade/",
        "positions": "/admin/execution/position/",
        "orders": "/admin/execution/order/",
        "dead-letters": "/admin/execution/deadletter/",
        "trade": f"/admin/execution/trade/{trade}/change/",
        "request": f"/admin/execution/executionrequest/{trade}/change/",
        "replay": f"/admin/execution/deadletter/{letter}/replay/",
        "kill-switch": "/admin/execution/killswitch/move/",
    }
    return pages if docs == "before" else {**pages, CONFIRM: pages["kill-switch"]}


def sign_in(page: Page, here: Site) -> None:
    page.goto(f"{here.url}/admin/login/?next=/admin/")
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", here.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{here.url}/admin/")


def show(page: Page, address: str, name: str) -> None:
    """Open a page, and wait until the theme shows it: it is hidden until its scripts have run."""
    page.goto(address)
    if name == CONFIRM:
        page.check("input[name=level][value=flatten]")
        page.fill("input[name=reason]", "drill")
        page.click("#content button[type=submit]")
        page.wait_for_load_state()
    page.wait_for_function("!document.documentElement.hasAttribute('x-cloak') && document.fonts.status === 'loaded'")


def findings(page: Page) -> Iterator[str]:
    """Return what axe-core finds serious or critical, with the elements."""
    for each in Axe().run(page).response["violations"]:
        if each["impact"] in GRAVE:
            nodes = ", ".join(node["html"][:160] for node in each["nodes"][:4])
            yield f"axe {each['impact']} {each['id']} ({len(each['nodes'])}): {nodes}"


def measured(page: Page, width: int) -> Iterator[str]:
    """Return what is wider than the window: the page, or a profit or loss that cannot be seen whole."""
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    if wide > width:
        yield f"wider than the window: {wide} > {width}"
    edge = page.evaluate(RIGHT_EDGE, RESULTS)
    if edge > width:
        yield f"PnL is cut off: it ends at {edge:.0f} > {width}"


def report(views: list[View], *, only_shown: bool) -> int:
    """Say what was found, keep it in a file, and return the exit code."""
    for view in views:
        verdict = "FAULT" if view.fault else "ok   "
        sys.stdout.write(f"{verdict} {view.size:<8} {view.colours:<6} {view.page:<20} {view.fault}\n")
    faults = sum(1 for view in views if view.fault)
    sys.stdout.write(f"{len(views)} views, {faults} with a fault\n")
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "report.json").write_text(json.dumps([asdict(view) for view in views], indent=2) + "\n")
    return 0 if only_shown or (views and not faults) else 1


if __name__ == "__main__":
    sys.exit(main())
