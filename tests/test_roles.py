"""Who may do what: every kind of command by every sort of asker through the real engine, and what the pages offer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
from desk.accounts import Accounts
from desk.authority import DEEDS, LOCAL_OWNER, MAY, STOPS, WITH_A_CODE, Authority, Deed, Role
from domain.clock import ManualClock
from domain.commands import CommandState, Kind
from domain.errors import AccountError
from research.jobs import Jobs
from tests.accounts import PASSWORD, with_people
from tests.peopled import PAGES, SYMBOL, Peopled, page, peopled
from tests.trading import MORNING, PaperDesk
from ui import backtest_page, jobs, model_shelf, preferences, roles, sign_in

NOBODY: frozenset[Kind] = frozenset()
# One payload a kind, as a person would send it. A kind that is missing here fails the matrix.
PAYLOADS: dict[Kind, dict[str, Any]] = {
    Kind.PREVIEW: {"account": "main", "symbol": "AAPL", "side": "buy", "type": "market", "quantity": "1"},
    Kind.PLACE: {"preview": "none-such", "request": {}},
    Kind.CANCEL: {"order": "none-such"},
    Kind.CANCEL_ALL: {"account": "main"},
    Kind.CHANGE: {"order": "none-such", "limit": "1"},
    Kind.CLOSE: {"account": "main", "symbol": "AAPL", "percent": "100"},
    Kind.PROTECT: {"account": "main", "symbol": "AAPL", "stop": "1"},
    Kind.KILL: {"level": 1, "reason": "enough"},
    Kind.RE_ARM: {"reason": "go on"},
    Kind.RESET_BREAKER: {"account": "main", "reason": "looked at"},
    Kind.SET_LIMIT: {"name": "max_position_pct", "value": 12.5},
    Kind.SIGN_IN: {"step": "link"},
    Kind.PICK_ACCOUNT: {"account": "main"},
    Kind.ARM: {"account": "main", "phrase": "TRADE"},
    Kind.DISARM: {},
    Kind.ACCEPT: {"account": "main", "about": "AAPL", "here": "1", "there": "2", "reason": "split"},
    Kind.SETTLE: {"order": "none-such", "broker_id": "1", "reason": "seen"},
    Kind.ADOPT: {"strategy": "sma_crossover", "params": {}, "symbols": ["AAPL"], "interval": "5m", "account": "main"},
    Kind.RETIRE: {"id": "none-such"},
    Kind.PROMOTE: {"id": "none-such"},
    Kind.DEMOTE: {"id": "none-such", "reason": "enough"},
    Kind.PAUSE_STRATEGY: {"id": "none-such"},
    Kind.RESUME_STRATEGY: {"id": "none-such"},
    Kind.PROMOTE: {"id": "none-such"},
    Kind.DEMOTE: {"id": "none-such"},
    Kind.PAUSE_STRATEGY: {"id": "none-such"},
    Kind.RESUME_STRATEGY: {"id": "none-such"},
}


@dataclass(frozen=True, slots=True)
class Asker:
    """`may`: what the authority must let through; everything else it must refuse with `why`."""

    actor: str
    may: frozenset[Kind]
    why: str


def askers(accounts: Accounts, clock: ManualClock) -> dict[str, Asker]:
    """Every sort of them at once. Who is to look idle comes first: time moves on for the others."""

    def signed(name: str) -> str:
        found = accounts.who(accounts.sign_in(name, PASSWORD))
        assert found is not None
        return found.actor

    idle, idle_trader = signed("olga"), signed("tim")
    clock.advance(minutes=16)
    out = accounts.sign_in("olga", PASSWORD)
    gone = accounts.who(out)
    assert gone is not None
    accounts.sign_out(out)
    accounts.add("sue", PASSWORD, Role.OWNER, by="olga")
    suspended = signed("sue")
    accounts.suspend("sue", by="olga")
    clock.advance(minutes=1)  # they ask when all is over: who stops the desk first and then signs out has stopped it
    viewer, trader, owner = signed("vera"), signed("tim"), signed("olga")
    over, role = "that sign-in is over", "the role is"
    return {
        "nobody": Asker("nobody", NOBODY, over),
        "a viewer": Asker(viewer, MAY[Role.VIEWER], role),
        "a trader": Asker(trader, MAY[Role.TRADER], role),
        "an owner": Asker(owner, MAY[Role.OWNER] - WITH_A_CODE, "one-time code"),
        "an idle owner": Asker(idle, STOPS, "nothing was pressed for 15 minutes"),
        "an idle trader": Asker(idle_trader, STOPS, ""),
        "signed out": Asker(gone.actor, NOBODY, over),
        "suspended": Asker(suspended, NOBODY, over),
        "forged": Asker(f"olga/{'0' * 16}", NOBODY, over),
        "another's sign-in": Asker(f"olga/{viewer.partition('/')[2]}", NOBODY, over),
        "the local owner": Asker(LOCAL_OWNER, STOPS, "this desk has accounts"),
    }


async def test_every_kind_by_every_asker_is_refused_and_audited_unless_it_is_granted(tmp_path: Path) -> None:
    clock = ManualClock(MORNING)
    accounts = with_people(tmp_path, clock)
    desk = PaperDesk(tmp_path, authority=Authority(accounts))
    await desk.start()
    try:
        for sort, asker in askers(accounts, clock).items():
            keys = {kind: desk.append(kind, PAYLOADS[kind], actor=asker.actor) for kind in Kind}
            await desk.tick(3, seconds=0.1)
            audit = {row.details.get("command"): row for row in desk.reader.audit_tail(200) if row.event == "answer"}
            for kind, key in keys.items():
                answer, case = desk.inbox.answer(key), f"{sort}: {kind}"
                assert answer is not None, case
                name = asker.actor.partition("/")[0]
                turned_away = f"{name} may not {kind}: " in answer.said
                assert turned_away == (kind not in asker.may), f"{case}: {answer.said}"
                if turned_away:
                    line = audit[key]
                    assert answer.state is CommandState.REFUSED, case
                    assert asker.why in answer.said, f"{case}: {answer.said}"
                    assert (line.actor, line.details["said"]) == (asker.actor, answer.said), case
        assert [(c.actor, c.new) for c in desk.reader.limit_history()] == [("olga", 12.5)]
        assert desk.problems() == []
    finally:
        await desk.stop()


def test_every_kind_and_deed_has_its_place_in_the_tables() -> None:
    """A new one without a grant, a payload and a sentence fails here before it is offered anywhere."""
    assert set(PAYLOADS) == set(Kind)
    assert MAY[Role.OWNER] == frozenset(Kind)
    assert DEEDS[Role.OWNER] == frozenset(Deed)
    assert set(roles._NOT) == {*Kind, *Deed} - DEEDS[Role.VIEWER]


# What pages offer: to everybody what only looks, finds or is one's own
LOOKS = (
    "history_setup",  # leads to the settings
    "guide_",
    "desk_stop",
    "desk_palette",
    "desk_zone",
    "desk_tf",
    "desk_reread",
    "bt_open",
    "bt_compare",
    "bt_more",
    "job_open",
)
TABS = {"settings": ("Data source", "Trading", "Risk", "E*TRADE")}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    monkeypatch.setattr(Jobs, "_tend", lambda *_: None)  # no processes: nobody is to work on these
    with peopled(tmp_path, monkeypatch) as found:
        for kind in ("backtest", "train"):
            job = jobs.jobs().start(kind, {"symbols": [SYMBOL]})
            jobs.jobs().cancel(job.id)
        yield found


def pages(*only: str) -> Iterator[AppTest]:
    """Every page, or those; the settings once a tab."""
    for path in PAGES:
        if path.stem in (only or [p.stem for p in PAGES]) and path.stem != "streamlit_dashboard":
            yield from (page(path, tab=tab) for tab in TABS.get(path.stem, ("",)))


def pressable(at: AppTest) -> set[str]:
    """What can be pressed and is more than a look."""
    keys = {str(one.key) for one in (*at.button, *at.radio) if not one.disabled}
    return {key for key in keys if not key.startswith(LOOKS)}


def told(at: AppTest) -> str:
    return "\n".join(each.value for kind in (at.caption, at.error, at.info) for each in kind)


def test_a_viewer_is_offered_nothing_that_changes_anything(desk: Peopled) -> None:
    desk.enter("vera")
    sentences = ""
    for at in pages():
        assert pressable(at) == set(), at.title
        sentences += told(at)

    for said in ("places no orders", "closes and protects no positions", "changes no limits", "starts and removes"):
        assert f"You look on: the role viewer {said}" in sentences


def test_a_trader_is_offered_what_trades_and_nothing_that_governs(desk: Peopled) -> None:
    desk.enter("tim")
    [dashboard], [positions], [backtests] = (list(pages(name)) for name in ("live_dashboard", "positions", "backtest"))

    assert "tkt_preview" in pressable(dashboard)
    assert f"pos_stop_{SYMBOL}" in pressable(positions)
    assert {"bt_preset", "bt_go_button"} <= pressable(backtests)
    for at in pages("settings"):
        assert pressable(at) == set()


def test_an_idle_sign_in_is_told_so_with_the_way_back(desk: Peopled) -> None:
    desk.enter("olga")
    desk.clock.advance(minutes=16)

    for at in pages("live_dashboard", "positions", "backtest"):
        assert "Nothing was pressed for 15 minutes: sign in again to change anything." in told(at)
        assert not {"tkt_preview", "bt_go_button"} & pressable(at)


# Around the pages: a browser may send what no page has offered


def test_a_press_on_what_is_disabled_changes_nothing(desk: Peopled) -> None:
    desk.enter("tim")
    at = page(next(p for p in PAGES if p.stem == "settings"), tab="Data source")
    radio = at.radio(key="desk_source_simulated_0")
    assert radio.disabled
    radio.proto.disabled = False  # as a browser that is not one would send it
    radio.set_value("files").run()

    assert bootstrap.start().market.name == "simulated"
    assert bootstrap.people().preference("data_source") is None


def test_a_dialog_that_is_forged_open_asks_for_nothing(desk: Peopled) -> None:
    vera = desk.enter("vera")
    at = AppTest.from_file(str(next(p for p in PAGES if p.stem == "positions")), default_timeout=60)
    at.session_state["desk_dialog"] = ("close", "f" * 32, {"account": "main", "symbol": SYMBOL, "percent": "100"})
    at.run()
    button = at.button(key=f"desk_ask_{'f' * 32}")
    assert button.disabled
    assert "closes and protects no positions" in told(at)
    button.proto.disabled = False
    button.click().run()

    # If it comes all the same it comes in her own name, for the engine to refuse.
    assert [command.actor for command in desk.engine.inbox.pending()] in ([], [vera])


CALLBACKS = {
    "a backtest begins": lambda job: backtest_page._begin(_Asked()),
    "a backtest is cancelled": backtest_page._cancel,
    "a backtest is removed": backtest_page._remove,
    "a training begins": lambda job: jobs.begin(jobs.Kind("train", str, ""), {"symbols": ["AAPL"]}),
    "a job is cancelled": jobs.cancel,
    "a job is removed": jobs._remove,
}


class _Asked:
    def to_dict(self) -> dict[str, Any]:
        return {"symbols": ["AAPL"]}


@pytest.mark.parametrize("name", ["vera", "idle olga", ""])
def test_what_pages_do_by_themselves_asks_who_it_is_first(desk: Peopled, name: str) -> None:
    if name:
        desk.enter(name.split()[-1])
    if name.startswith("idle"):
        desk.clock.advance(minutes=16)
    before = [(job.id, job.state) for kind in ("backtest", "train") for job in jobs.jobs().latest(kind)]

    for what, callback in CALLBACKS.items():
        with contextlib.suppress(AccountError):
            callback(before[0][0])
        assert [(job.id, job.state) for k in ("backtest", "train") for job in jobs.jobs().latest(k)] == before, what
    model_shelf._change("key", lambda why: pytest.fail("a model was changed"), "changed")
    assert "sign" in model_shelf.st.session_state["shelf_done"]["key"] or "may not" in str(
        model_shelf.st.session_state["shelf_done"]["key"]
    )
    sources = bootstrap.start().market.name
    model_shelf.st.session_state["forged"] = "files"
    model_shelf.st.session_state["desk_source_refused"] = 0
    preferences._switch("forged")
    assert bootstrap.start().market.name == sources


def test_whoever_may_is_not_held_up(desk: Peopled) -> None:
    desk.enter("tim")
    [job] = jobs.jobs().latest("train")
    jobs._remove(job.id)

    assert jobs.jobs().latest("train") == []
    with pytest.raises(AccountError, match="tim may not release or remove a model"):
        sign_in.must(Deed.MODELS)
