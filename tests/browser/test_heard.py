"""A press is carried out though the page is drawn anew at that moment; a tick that comes late changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from playwright.sync_api import Page, WebSocketRoute, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg, ForwardMsgList

from tests.browser.clicks import Trader, place_button
from tests.browser.conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
Said = Callable[[ClientState], list[ClientState]]


class Line:
    """The way from a page to its server. `says` may put other things in place of what the page asks for."""

    def __init__(self, page: Page) -> None:
        self.says: Said = lambda asked: [asked]
        self.hasty = False  # its clocks ask as soon as they are set, again and again
        page.route_web_socket(re.compile("_stcore/stream"), self._opened)

    def _opened(self, browser: WebSocketRoute) -> None:
        server = browser.connect_to_server()

        def heard(message: str | bytes) -> None:
            said = BackMsg.FromString(message) if isinstance(message, bytes) else BackMsg()
            if said.WhichOneof("type") != "rerun_script":
                server.send(message)
                return
            for asked in self.says(said.rerun_script):
                server.send(BackMsg(rerun_script=asked).SerializeToString())

        page_shown = ""

        def told(message: str | bytes) -> None:
            nonlocal page_shown
            for each in messages(message):
                if each.WhichOneof("type") == "new_session":
                    page_shown = each.new_session.page_script_hash
                elif each.WhichOneof("type") == "auto_rerun" and self.hasty:
                    tick = ClientState(is_auto_rerun=True, page_script_hash=page_shown, query_string="symbol=KO")
                    tick.fragment_id = each.auto_rerun.fragment_id
                    server.send(BackMsg(rerun_script=tick).SerializeToString())
            browser.send(message)

        browser.on_message(heard)
        server.on_message(told)


def messages(told: str | bytes) -> list[ForwardMsg]:
    """What one message of the server holds: many, or one."""
    if isinstance(told, str):
        return []
    many = ForwardMsgList()
    with suppress(DecodeError):
        many.ParseFromString(told)
    if any(each.WhichOneof("type") for each in many.messages):
        return list(many.messages)
    return [ForwardMsg.FromString(told)]


@pytest.fixture
def ticket(server: Server, page: Page) -> Line:
    """The live dashboard with its ticket, and the line it speaks on."""
    line = Line(page)
    Trader(server.url, server.data, page.context).make_room()
    page.goto(f"{server.url}/?symbol=KO")
    expect(page.locator(".st-key-tkt_fields").get_by_role("spinbutton").first).not_to_have_value("")
    return line


def pressed(asked: ClientState, name: str) -> bool:
    return any(w.id.endswith(name) and w.trigger_value for w in asked.widget_states.widgets)


def whole_page(asked: ClientState) -> ClientState:
    """The same browser, a moment later, asks for all of its page."""
    anew = ClientState()
    anew.CopyFrom(asked)
    anew.fragment_id = ""
    del anew.widget_states.widgets[:]
    anew.widget_states.widgets.extend(w for w in asked.widget_states.widgets if not w.trigger_value)
    return anew


def test_a_press_is_carried_out_though_the_page_is_drawn_anew(ticket: Line, page: Page) -> None:
    ticket.says = lambda asked: [asked, whole_page(asked), whole_page(asked)] if pressed(asked, "preview") else [asked]
    page.get_by_role("button", name="Preview", exact=True).click()

    expect(place_button(page)).to_be_enabled()


def test_a_tick_does_not_lead_back_to_the_page_it_came_from(ticket: Line, page: Page) -> None:
    ticks: list[ClientState] = []

    def late(asked: ClientState) -> list[ClientState]:
        """What the clock of the old page asked for arrives after the link that was pressed."""
        if asked.is_auto_rerun:
            ticks.append(asked)
            return [asked]
        return [asked, ticks[-1], ticks[-1]]

    ticket.says = late
    while not ticks:  # the test's own limit ends it
        page.wait_for_timeout(100)
    page.get_by_role("link", name="Backtest").click()

    expect(page.get_by_role("heading", name="Backtest", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Preview", exact=True)).to_have_count(0)
    page.wait_for_timeout(2000)
    expect(page).to_have_url(re.compile("/backtest$"))
    expect(page.get_by_role("heading", name="Backtest", exact=True)).to_be_visible()


def test_a_tick_does_not_put_away_what_is_looked_at(ticket: Line, page: Page) -> None:
    """It knows the fields as they were, and a field that is changed puts a preview away."""
    ticks: list[ClientState] = []

    def stale(asked: ClientState) -> list[ClientState]:
        if not asked.is_auto_rerun:
            return [asked]
        ticks.append(asked)
        old = ClientState()
        old.CopyFrom(asked)
        old.widget_states.CopyFrom(ticks[0].widget_states)
        return [old]

    ticket.says = stale
    while not ticks:  # the test's own limit ends it
        page.wait_for_timeout(100)
    shares = page.locator(".st-key-tkt_fields").get_by_role("spinbutton").first
    shares.fill("7")
    shares.press("Enter")
    page.get_by_role("button", name="Preview", exact=True).click()

    expect(place_button(page)).to_be_enabled()
    page.wait_for_timeout(3000)
    expect(place_button(page)).to_be_enabled()


def test_what_the_desk_put_into_a_field_stands_there_though_a_tick_came_first(server: Server, page: Page) -> None:
    line = Line(page)
    line.hasty = True
    page.goto(f"{server.url}/?symbol=KO")

    fields = page.locator(".st-key-tkt_fields")
    expect(fields.get_by_role("radio", name="Buy")).to_be_checked()
    expect(fields.get_by_role("radio", name="Shares")).to_be_checked()
    expect(fields.get_by_role("spinbutton").first).not_to_have_value("")
