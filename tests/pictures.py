"""Pictures of the real desk for the documents: `make pictures`, or `python -m tests.pictures [tutorial] [pages]`.

A desk on the simulated market is filled by its own doors (commands, a model that is trained, a question to the past, an
alert that goes out), and each page is looked at in Chromium: both sizes, both themes. Then the tutorial is walked.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from backtest.setup import Exit, Setup
from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import ShiftedClock, SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from research.jobs import Jobs
from tests import tutorial
from tests.accounts import PASSWORD
from tests.browser.conftest import FLAGS, PHONE, WIDE, Server, start_server
from tests.browser.test_alerts import room
from tests.conftest import ROOT

MOST_BYTES = 12_000_000  # of all pictures together
QUALITY = 72
THEMES = ("dark", "light")
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": WIDE, "device_scale_factor": 1},
    "phone": {"viewport": PHONE, "device_scale_factor": 1.5, "has_touch": True},
}
TABS = {
    "Data source": "data-source",
    "E*TRADE": "etrade",
    "Trading": "trading",
    "Risk": "risk",
    "Notifications": "notifications",
    "Appearance": "appearance",
    "Your files": "your-files",
    "Backups": "backups",
    "People": "people",
    "My account": "my-account",
}
PAGES = {
    "live": "/?symbol=AAPL&tf=5m",
    "positions": "/positions",
    "bot": "/bot",
    "backtest": "/backtest",
    "training": "/training",
    "alerts": "/alerts",
    **{
        f"settings-{slug}": f"/settings?tab={name.replace('*', '%2A').replace(' ', '+')}" for name, slug in TABS.items()
    },
}
SIGN_IN = "sign-in"
STRATEGY = Setup(cash=10_000.0, fraction=0.2, short=False, stop=Exit("pct", 1.0), target=Exit("pct", 2.0))
PATIENCE_MS, SETTLES_MS = 180_000, 15_000


def expected() -> list[str]:
    """Every picture that this program takes, by its file's name."""
    of_pages = [f"{page}-{size}-{theme}.webp" for page in (*PAGES, SIGN_IN) for size in SIZES for theme in THEMES]
    return sorted([*of_pages, *tutorial.PICTURES])


def save(page: Page, name: str) -> None:
    """What is to be seen now, small enough to be kept."""
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
    shot.save(tutorial.folder() / name, "WEBP", quality=QUALITY, method=6)
    print(f"{name:42} {(tutorial.folder() / name).stat().st_size // 1024:4} KB", flush=True)


def settle(page: Page) -> None:
    """What is on its way has come. A page that works for ever is pictured at work; the door lets nobody ask."""
    with suppress(PlaywrightError):
        page.wait_for_function(
            """document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
            && [...document.querySelectorAll('.dc-plot')].every(one => one._fullLayout)
            && [...document.querySelectorAll('[data-testid=stDataFrame], [data-testid=stSkeleton]')]
            .filter(one => one.offsetParent).every(one => one.querySelector('canvas'))""",
            timeout=SETTLES_MS,
        )
    page.wait_for_timeout(1000)


# A desk with something on it


@dataclass(slots=True)
class Prepared:
    """A desk that runs, and the address of an answered question to the past."""

    server: Server
    job: str = ""

    @property
    def ledger(self) -> str:
        return f"sqlite:///{self.server.data / 'ledger-paper-simulated.db'}"

    @property
    def clock(self) -> ShiftedClock:
        """The desk's own time: the simulated market's."""
        with urllib.request.urlopen(f"{self.server.url}/live/desk", timeout=30) as answer:
            now = json.load(answer)["state"]["now_ms"] / 1000
        return ShiftedClock(SystemClock(), timedelta(seconds=now - SystemClock().now().timestamp()))

    def ask(self, kind: Kind, key: str = "", **payload: Any) -> Answer:
        """A command by the inbox, answered before this returns; it must be done."""
        clock, until = self.clock, _soon()
        inbox, reader = Inbox(self.ledger, clock), Reader(self.ledger, clock)
        while not reader.accounts():
            assert time.monotonic() < until, "no engine runs"
            time.sleep(0.2)
        key = key or uuid.uuid4().hex
        inbox.append(Command(key, kind, "owner", payload))
        while (answer := inbox.answer(key)) is None:
            assert time.monotonic() < until, f"{kind} was not answered"
            time.sleep(0.1)
        assert answer.state is CommandState.DONE, answer.said
        return Answer(answer.state, answer.said, {**answer.details, "key": key})

    def buy(self, symbol: str, quantity: int, **more: str) -> None:
        ticket = {"account": "main", "symbol": symbol, "side": "buy", "type": "market", "quantity": str(quantity)}
        until = _soon()
        while not (shown := self.ask(Kind.PREVIEW, **ticket, **more).details)["approved"]:
            why = [one["said"] for one in shown["verdicts"] if one["outcome"] == "refused"]
            assert time.monotonic() < until, why  # a fill of a moment ago may not be counted yet
            time.sleep(1)
        self.ask(Kind.PLACE, shown["token"], preview=shown["key"], request=shown["request"])

    def filled(self, symbol: str) -> None:
        """Held, under its stop and target."""
        reader, until = Reader(self.ledger, self.clock), _soon()
        while len(reader.open_orders("main", symbol)) < 2:
            assert time.monotonic() < until, f"the order for {symbol} did not fill"
            time.sleep(0.2)


def _soon() -> float:
    return time.monotonic() + PATIENCE_MS / 1000


@contextmanager
def prepared(folder: Path) -> Iterator[Prepared]:
    """Positions under their stops, a strategy at work, a model, an alert that was sent, an answer about the past."""
    data = folder / "data"
    data.mkdir(parents=True)
    models = str(folder / "models")
    _train(data, models)
    with room() as slack:
        server = start_server(data, by_command=True, MODELS_DIR=models, SLACK_WEBHOOK_URL=f"{slack.url}/hook")
        try:
            desk = Prepared(server)
            desk.ask(Kind.SET_LIMIT, name="max_symbol_pct", value=100)
            for symbol, shares in (("AAPL", 40), ("KO", 100), ("MSFT", 15)):
                desk.buy(symbol, shares, stop_atr="1.5", target_atr="3")
                desk.filled(symbol)
            setup = STRATEGY.to_dict() | {"exits_from": "signal"}
            wish = {"strategy": "sma_crossover", "params": {"fast": 3, "slow": 8}, "interval": "1m", "setup": setup}
            desk.ask(Kind.ADOPT, symbols=["NVDA", "SPY"], **wish)
            yield desk
        finally:
            server.stop()
            _end_work(data)


def _train(data: Path, models: str) -> None:
    """A small model, judged as every other."""
    asked = ["--source", "simulated", "--symbols", "AAPL", "NVDA", "--interval", "1h", "--start", "2026-01-02"]
    subprocess.run(
        [sys.executable, "ml_pipeline.py", *asked, "--epochs", "6", "--out-dir", models],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(data), "MODELS_DIR": models, "SIMULATED_START": "2026-11-20T10:30"},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _end_work(data: Path) -> None:
    """The processes that worked for the pages go with the desk."""
    with contextlib.closing(Jobs(f"sqlite:///{data / 'research.db'}")) as jobs:
        pids = {job.pid for kind in ("backtest", "training") for job in jobs.latest(kind, 20) if job.pid}
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 15)


# Looking at it


@contextmanager
def visitor(browser: Browser, size: str, theme: str, cookies: list[Any] | None = None) -> Iterator[Page]:
    context = browser.new_context(**SIZES[size], color_scheme=theme)  # type: ignore[arg-type]
    if cookies:
        context.add_cookies(cookies)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def of_pages(browser: Browser, folder: Path) -> None:
    """Each page and each tab of the settings, in both sizes and themes; and the door, once there are accounts."""
    with prepared(folder) as desk:
        with visitor(browser, "desktop", "dark") as page:
            _prepare_in_the_browser(page, desk)
        _look(browser, desk, {name: path for name, path in PAGES.items() if name != "settings-my-account"})
        cookies = _let_in(browser, desk)
        signed = ("settings-people", "settings-my-account")
        _look(browser, desk, {name: PAGES[name] for name in signed}, cookies)
        _look(browser, desk, {SIGN_IN: "/sign-in"})


def _look(browser: Browser, desk: Prepared, pages: dict[str, str], cookies: list[Any] | None = None) -> None:
    for size in SIZES:
        for theme in THEMES:
            with visitor(browser, size, theme, cookies) as page:
                for name, path in pages.items():
                    path = f"/backtest?job={desk.job}" if name == "backtest" else path
                    page.goto(desk.server.url + path)
                    shown = page.get_by_role("heading").or_(page.locator(".dc-plot")).or_(page.get_by_label("Password"))
                    expect(shown.first).to_be_visible()
                    settle(page)
                    save(page, f"{name}-{size}-{theme}.webp")


def _prepare_in_the_browser(page: Page, desk: Prepared) -> None:
    """What only a page can ask for: the past, and a test of a channel; then the strategy's first minute."""
    page.goto(f"{desk.server.url}/backtest")
    page.get_by_role("button", name=re.compile("^Which SMA pair did best")).click()
    expect(page.get_by_role("heading", name="Figures side by side")).to_be_visible(timeout=PATIENCE_MS)
    desk.job = page.url.partition("job=")[2]
    page.goto(f"{desk.server.url}/settings?tab=Notifications")
    card = page.locator(".st-key-channel_slack")
    card.get_by_role("button", name="Test").click()
    expect(card.get_by_text("Sent to Slack")).to_be_visible()
    page.goto(f"{desk.server.url}/bot")
    expect(page.get_by_test_id("stDataFrame").filter(has_text="SMA 3").first).to_be_visible(timeout=PATIENCE_MS)


def _let_in(browser: Browser, desk: Prepared) -> list[Any]:
    """An owner and two others come to the desk, and the owner signs in; the cookies of that."""
    for name, role in (("ada", "owner"), ("tim", "trader"), ("vera", "viewer")):
        _account(desk.server.data, name, role)
    with visitor(browser, "desktop", "dark") as page:
        page.goto(desk.server.url)
        page.get_by_role("link", name="Sign in").or_(page.get_by_label("Name")).first.click()
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("stSidebar").get_by_text("ada · owner")).to_be_visible()
        return list(page.context.cookies())


def _account(data: Path, name: str, role: str) -> None:
    from desk.accounts import Accounts
    from desk.authority import Role
    from settings import Settings

    settings = Settings(_env_file=None, data_dir=data)
    Accounts(f"sqlite:///{settings.data_dir / 'accounts.db'}").add(name, PASSWORD, Role(role), by="console")


def of_tutorial(browser: Browser, folder: Path) -> None:
    """The tutorial as it is written, on a desk of its own."""
    data = folder / "data"
    data.mkdir(parents=True)
    server = start_server(data, by_command=True)
    try:
        with visitor(browser, "desktop", "light") as page:

            def picture(name: str) -> None:
                settle(page)
                save(page, name)

            page.goto(server.url)
            tutorial.walk(page, shell=lambda lines: None, picture=picture)
    finally:
        server.stop()
        _end_work(data)


def main(asked: list[str]) -> int:
    """0 where all pictures were taken and are small enough together."""
    tutorial.folder().mkdir(exist_ok=True)
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        print("No Chromium on this machine (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    wanted = {"pages": of_pages, "tutorial": of_tutorial}
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        browser = play.chromium.launch(executable_path=found, args=FLAGS)
        for name in asked or wanted:
            wanted[name](browser, Path(folder) / name)
        browser.close()
    size = sum(path.stat().st_size for path in tutorial.folder().iterdir())
    print(f"{size / 1e6:.1f} MB in all")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
