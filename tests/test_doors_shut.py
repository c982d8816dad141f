"""A stranger gets the way to sign in and nothing else: of every page, and on a line that is open already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
from desk.accounts import Accounts
from domain.errors import LedgerUnusable
from tests.accounts import PASSWORD, with_people
from tests.peopled import FIGURE, PAGES, SYMBOL, Peopled, page, peopled, words
from ui import open_line
from ui.doorkeeper import Doorkeeper
from ui.open_line import OpenLine


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    with peopled(tmp_path, monkeypatch) as found:
        yield found


# Pages


def test_a_stranger_sees_of_every_page_only_the_way_in(desk: Peopled) -> None:
    for path in PAGES:
        at = page(path, tab="Risk", job="1", preview="p", symbol=SYMBOL, version="v1", way="Load", compare="1,2")

        assert [title.value for title in at.subheader] == ["Sign in"], path
        told = words(at)
        assert not [data for data in (SYMBOL, FIGURE, "main", "AAPL", "100,000", "olga", "paper") if data in told]
        assert not [
            *at.sidebar.children,
            *at.button,
            *at.radio,
            *at.selectbox,
            *at.text_input,
            *at.dataframe,
            *at.metric,
        ]


def test_the_very_same_search_finds_it_for_who_is_signed_in(desk: Peopled) -> None:
    desk.enter("vera")

    told = [words(page(path)) for path in PAGES if path.stem in ("positions", "live_dashboard")]

    assert all(any(data in each for each in told) for data in (SYMBOL, FIGURE, "AAPL"))


# A line that is open


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return with_people(tmp_path)


def pressed(page_hash: str = "abc", query: str = "tab=Risk", **more: Any) -> bytes:
    asked = ClientState(query_string=query, page_script_hash=page_hash, **more)
    return BackMsg(rerun_script=asked).SerializeToString()


class Line:
    """A WebSocket at the doorkeeper, with an app behind it that tells what it hears."""

    def __init__(self, accounts: Accounts, secret: str) -> None:
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        host = [(b"host", b"127.0.0.1:8501"), (b"origin", b"http://127.0.0.1:8501")]
        scope = {
            "type": "websocket",
            "path": "/_stcore/stream",
            "headers": [*host, (b"cookie", f"sid={secret}".encode())],
        }
        scope |= {"server": ("127.0.0.1", 8501), "client": ("127.0.0.1", 4000)}
        door = Doorkeeper(self._app, accounts=lambda: accounts)
        self.task = asyncio.create_task(door(scope, self.said.get, self._sent))

    async def _app(self, _: Any, receive: Any, __: Any) -> None:
        while True:
            message = await receive()
            await self.heard.put(message)
            if message["type"] == "websocket.disconnect":
                return

    async def _sent(self, message: dict[str, Any]) -> None:
        await self.heard.put(message)

    async def says(self, body: bytes) -> bytes:
        await self.said.put({"type": "websocket.receive", "bytes": body})
        return await self.hears()

    async def hears(self) -> bytes:
        return bytes((await asyncio.wait_for(self.heard.get(), 10))["bytes"])

    async def ends(self) -> None:
        await self.said.put({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.task, 10)


async def test_while_the_sign_in_stands_every_word_passes(accounts: Accounts) -> None:
    line = Line(accounts, accounts.sign_in("vera", PASSWORD))

    for body in (pressed(), pressed(fragment_id="f"), BackMsg(stop_script=True).SerializeToString(), b"\xff\xff"):
        assert await line.says(body) == body
    await line.ends()


@pytest.mark.parametrize(
    "body",
    [
        pressed(fragment_id="ticks", is_auto_rerun=True),
        pressed("other", "tab=Trading", widget_states={"widgets": [{"id": "go", "trigger_value": True}]}),
        BackMsg(clear_cache=True).SerializeToString(),
        BackMsg(
            backend_operation_request={"request_id": "1", "deferred_file": {"file_id": "fills"}}
        ).SerializeToString(),
        b"no message at all",
    ],
    ids=["a part that ticks", "a press", "the cache", "a file", "nonsense"],
)
async def test_put_out_it_hears_nothing_but_a_page_run_anew(accounts: Accounts, body: bytes) -> None:
    """No part of the page runs alone, no press is answered and no file is made for who was put out."""
    line = Line(accounts, accounts.sign_in("tim", PASSWORD))
    await line.says(pressed())
    accounts.suspend("tim", by="olga")

    assert await line.says(body) == pressed()
    assert await line.says(body) == pressed()
    await line.ends()


async def test_who_says_nothing_is_told_once(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_line, "LOOK_EVERY_S", 0.01)
    line = Line(accounts, accounts.sign_in("vera", PASSWORD))
    await line.says(pressed())
    accounts.revoke_all(by="olga")

    assert await line.hears() == pressed()
    await asyncio.sleep(0.1)
    assert line.heard.empty()
    await line.ends()


async def test_the_first_account_shuts_the_lines_that_were_open_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = False

    async def now() -> bool:
        return shut

    said: asyncio.Queue[Any] = asyncio.Queue()
    line = OpenLine(said.get, now)
    for shut in (False, True):
        await said.put({"type": "websocket.receive", "bytes": pressed(fragment_id="f")})
        heard = (await line())["bytes"]
        assert (heard == pressed()) is shut
    line.close()


async def test_accounts_that_cannot_be_read_shut_it_too(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(accounts, accounts.sign_in("vera", PASSWORD))
    await line.says(pressed())

    def broken(_: str) -> None:
        raise LedgerUnusable("accounts.db: disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "who", broken)
        assert await line.says(pressed(fragment_id="f")) == pressed()
    assert await line.says(pressed(fragment_id="f")) == pressed(fragment_id="f")
    await line.ends()
