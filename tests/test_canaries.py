"""No secret leaves its place: real programs, servers that repeat what they hear, and every byte searched."""

from __future__ import annotations

import logging
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from desk import logs
from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import ManualClock, SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from etrade.signing import Keys, Pair
from etrade.tokens import Token
from etrade.vault import Vault, file_key
from settings import Settings
from tests.accounts import PASSWORD, accounts_in, with_people
from tests.browser.conftest import Server, start_server
from tests.browser.test_strangers import Listener
from tests.canary_world import LEARNED, canary, files_with_any, found_in, parrots
from tests.programs import forked

pytestmark = pytest.mark.xdist_group("browser")
# A person must open the link, and the link is made of these two: E*TRADE's own way. Neither opens anything by itself.
IN_THE_LINK = {canary("ETRADE_CONSUMER_KEY"), canary("request token")}
LEDGER = "ledger-paper-etrade-simulator.db"
PAGES = ("", "positions", "settings?tab=E%2ATRADE", "settings?tab=Data+source", "training", "backtest", "alerts")


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    secret = canary("SMTP_PASS")
    (tmp_path / "a").write_text(f"..{secret}..")
    (tmp_path / "b").write_bytes(b"\0AFAAY25yeXNtdHBwYXNzeA" + secret.encode().hex().encode())

    assert files_with_any(tmp_path) == {"a": {secret}}
    assert found_in(b"Basic QUM6Y25yeXNtdHBwYXNzeDAxMjM0NTY3ODk=") == {"cnrysmtppassx0123456789"}
    assert len({canary(name) for name in LEARNED}) == 4


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    settings = Settings(data_dir=tmp_path, webhook_url=f"https://hooks.example.com/desk/{canary('webhook address')}")
    logs.setup(settings, "test", console=False)
    yield settings.log_path
    logs.restore()


def test_a_token_is_hidden_from_the_moment_it_is_learned(log: Path, tmp_path: Path) -> None:
    """By a sign-in here, and by one that was kept on disk: as a stranger's traceback would say it, without a name."""
    keys, now = Keys("key", "secret"), SystemClock().now()
    pair = Pair(canary("access token"), canary("access secret"))
    Vault(tmp_path, file_key).save(Token(pair, "sandbox", now, now), keys)
    for secret in (pair.token, pair.secret, f"POST /desk/{canary('webhook address')} HTTP/1.1"):
        try:
            raise ValueError(f"what came was {secret}")
        except ValueError:
            logging.getLogger("etrade").exception("it answered %s", [secret])

    assert found_in(log.read_bytes()) == set()
    assert log.read_text().count("[hidden]") >= 6

    logs.setup(Settings(data_dir=tmp_path), "another program", console=False)
    Vault(tmp_path, file_key).load("sandbox", keys)
    logging.getLogger("etrade").error("it answered %s", pair.secret)
    assert found_in(log.read_bytes()) == set()


def test_no_program_of_the_desk_lets_a_secret_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ohlcv").mkdir()
    (data / "ohlcv" / "BROKEN_1d.csv").write_text("time,open\nno,candles\n")
    with_people(data)
    with parrots() as world:
        server = start_server(data, **world)
        try:
            heard = use(server, data)
            commands = command_lines(server.process.pid)
        finally:
            server.stop()
        told = run_others(tmp_path, data, world)

    leaks = files_with_any(tmp_path)
    ledger = {name: found - IN_THE_LINK for name, found in leaks.items() if LEDGER in name}
    assert {name: found for name, found in {**leaks, **ledger}.items() if found} == {}
    assert found_in(heard) - IN_THE_LINK == set()
    assert found_in(commands) == set()
    assert "Traceback" in told or "FAILED" in told  # it was no quiet day


def use(server: Server, data: Path) -> bytes:
    """What a browser is sent while a person signs in here and at E*TRADE, and looks at every page."""
    accounts, heard = accounts_in(data), b""
    for name, kind in (("olga", "application/x-www-form-urlencoded"), (canary("typed as name"), "text/plain")):
        wrong = urlencode({"name": name, "password": canary("typed password")}).encode()
        heard += fetched(server, "/auth/login", data=wrong, kind=kind)
    cookie = accounts.sign_in("olga", PASSWORD)
    signed = accounts.who(cookie)
    assert signed is not None
    asked = ask(data, signed.actor, step="link")
    assert asked.state is CommandState.DONE, asked.said
    ask(data, signed.actor, step="code", code="WX8Y2")
    ask(data, signed.actor, step="check")
    for path in PAGES:
        name, _, query = path.partition("?")
        heard += fetched(server, f"/{path}", cookie)
        heard += Listener(server, cookie).say(page_name=name, query_string=query)
    for path in (
        "/live/chart?symbol=KO",
        "/live/quotes?symbols=KO",
        "/live/desk?account=main",
        "/live/chart?symbol=BROKEN&tf=1d",
    ):
        heard += fetched(server, path, cookie)
    return heard


def fetched(server: Server, path: str, cookie: str = "", data: bytes | None = None, kind: str = "") -> bytes:
    headers = {"Cookie": f"sid={cookie}", "Origin": server.url, "Accept": "text/html"}
    if kind:
        headers["Content-Type"] = kind
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers), timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def ask(data: Path, actor: str, **payload: str) -> Answer:
    """What the dashboard's own engine answers."""
    ledger, until = data / LEDGER, time.monotonic() + 30
    reader = Reader(f"sqlite:///{ledger}", SystemClock())
    while not ledger.exists() or (engine := reader.engine()) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    inbox, key = Inbox(f"sqlite:///{ledger}", ManualClock(engine.beat)), uuid.uuid4().hex  # the desk has its own time
    inbox.append(Command(key, Kind.SIGN_IN, actor, payload))
    while (answer := inbox.answer(key)) is None or answer.state is CommandState.QUEUED:
        assert time.monotonic() < until, payload
        time.sleep(0.05)
    return answer


def command_lines(pid: int) -> bytes:
    """Of the program and of all its children."""
    found = Path(f"/proc/{pid}/cmdline").read_bytes()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += command_lines(int(child))
    return found


def run_others(folder: Path, data: Path, world: dict[str, str]) -> str:
    """The command lines, one after the other, with a database that is not there; what they print."""
    lost = {**world, "DATABASE_URL": f"postgresql://desk:{canary('database')}@127.0.0.1:1/x_{{desk}}"}
    runs = [
        (["notifier.py", "--mode", "test"], world),
        (["notifier.py", "--mode", "status"], world),
        (["trading_bot.py"], lost),
        (["trading_bot.py", "--status"], lost),
        (["-m", "research.runner", "--kind", "backtest", "--file", str(data / "research.db"), "--idle", "0"], world),
        (["-m", "desk.accounts"], world),
    ]
    programs = []
    for number, (arguments, environment) in enumerate(runs):
        out = folder / f"out-{number}.log"
        programs.append((forked(arguments, {**os.environ, **environment, "DATA_DIR": str(data)}, out), out))
    for program, _ in programs:
        program.wait(60)
    return "".join(out.read_text() for _, out in programs)
