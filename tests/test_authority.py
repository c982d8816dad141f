"""desk/authority.py: the engine decides. Every role asks for everything, through the inbox, without any page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest

from desk.accounts import Accounts
from desk.authority import DEEDS, LOCAL_OWNER, MAY, STOPS, Authority, Deed, Role, name_of
from domain.clock import ManualClock
from domain.commands import CommandState, Kind
from domain.errors import LedgerUnusable
from tests.accounts import PASSWORD, accounts_in, with_people
from tests.trading import MORNING, PaperDesk

REFUSED, DONE = CommandState.REFUSED, CommandState.DONE
PEOPLE = {Role.OWNER: "olga", Role.TRADER: "tim", Role.VIEWER: "vera"}


@pytest.fixture
def people_clock() -> ManualClock:
    """The accounts' clock is the machine's, whatever day the desk plays."""
    return ManualClock(MORNING + timedelta(days=200))


@pytest.fixture
def accounts(tmp_path: Path, people_clock: ManualClock) -> Accounts:
    return with_people(tmp_path, people_clock)


@pytest.fixture
async def desk(tmp_path: Path, accounts: Accounts) -> AsyncIterator[PaperDesk]:
    desk = PaperDesk(tmp_path, authority=Authority(accounts))
    await desk.start()
    yield desk
    await desk.stop()


def signed_in(accounts: Accounts, name: str) -> tuple[str, str]:
    secret = accounts.sign_in(name, PASSWORD, "127.0.0.1")
    signed = accounts.who(secret)
    assert signed is not None
    return secret, signed.actor


async def test_each_role_gets_what_the_table_grants_and_nothing_else(desk: PaperDesk, accounts: Accounts) -> None:
    """Refused for the role, before anything is looked at; whatever passes is refused for what is missing in it."""
    for role, name in PEOPLE.items():
        _, actor = signed_in(accounts, name)
        keys = {kind: desk.append(kind, {"level": 0}, actor=actor) for kind in Kind}
        await desk.tick(2)
        audit = desk.reader.audit_tail(100)
        for kind, key in keys.items():
            answer = desk.inbox.answer(key)

            assert answer is not None, kind
            for_role = f"{name} may not {kind}: the role is {role}" in answer.said
            assert for_role == (kind not in MAY[role]), (role, kind, answer.said)
            if for_role:
                [line] = [r for r in audit if r.details.get("command") == key]
                assert (answer.state, line.event, line.actor) == (REFUSED, "answer", actor)


def test_the_table_grants_what_was_agreed() -> None:
    assert MAY[Role.VIEWER] == frozenset()
    assert MAY[Role.OWNER] == frozenset(Kind)
    assert frozenset(Kind) - MAY[Role.TRADER] == {
        Kind.RE_ARM,
        Kind.RESET_BREAKER,
        Kind.SET_LIMIT,
        Kind.SIGN_IN,
        Kind.PICK_ACCOUNT,
        Kind.ARM,
        Kind.ACCEPT,
        Kind.SETTLE,
    }
    assert {role: set(deeds) for role, deeds in DEEDS.items()} == {
        Role.VIEWER: {Deed.LOOK, Deed.OWN_CHOICES},
        Role.TRADER: {Deed.LOOK, Deed.OWN_CHOICES, Deed.RESEARCH},
        Role.OWNER: set(Deed),
    }


async def test_a_trader_trades_under_the_own_name(desk: PaperDesk, accounts: Accounts) -> None:
    _, actor = signed_in(accounts, "tim")
    previewed = await desk.ask(
        Kind.PREVIEW,
        key="preview-of-tim",
        actor=actor,
        account="main",
        symbol="AAPL",
        side="buy",
        type="market",
        quantity="10",
    )
    payload = {"preview": "preview-of-tim", "request": previewed.details["request"]}
    placed = await desk.ask(Kind.PLACE, key=previewed.details["token"], actor=actor, **payload)

    assert (previewed.state, placed.state) == (DONE, DONE), (previewed.said, placed.said)
    assert "tim" in {line.actor for line in desk.reader.audit_tail(50) if line.event == "order"}


async def test_a_claim_is_no_proof(desk: PaperDesk, accounts: Accounts) -> None:
    """What the page says of who asks is a reference to look up: a name, a role or another's reference opens nothing."""
    olga, vera = (signed_in(accounts, name)[1].partition("/")[2] for name in ("olga", "vera"))
    claims = [LOCAL_OWNER, "olga", "olga/", "olga/0000000000000000", "nobody/1", "engine", "/", "owner/owner", " "]

    claims += [f"olga/{vera}", f"vera/{olga}", f"/{olga}", f"olga/{olga}/x"]
    payload = {"name": "max_position_pct", "value": "50"}
    keys = {actor: desk.append(Kind.SET_LIMIT, payload, actor=actor) for actor in claims}
    await desk.tick(2)

    for actor, key in keys.items():
        answer = desk.inbox.answer(key)
        assert answer is not None
        assert (answer.state, " may not set limit" in answer.said) == (REFUSED, True), actor
    assert desk.reader.limits().get("max_position_pct") != "50"


async def test_a_revoked_sign_in_asks_for_nothing_though_it_was_queued_before(
    desk: PaperDesk, accounts: Accounts
) -> None:
    _, actor = signed_in(accounts, "olga")
    key = desk.append(Kind.SET_LIMIT, {"name": "max_position_pct", "value": "50"}, actor=actor)
    accounts.revoke_all("olga", by="console")
    await desk.tick()

    answer = desk.inbox.answer(key)

    assert answer is not None
    assert (answer.state, "that sign-in is over" in answer.said) == (REFUSED, True)


async def test_idle_may_still_stop_the_desk_and_nothing_else(
    desk: PaperDesk, accounts: Accounts, people_clock: ManualClock
) -> None:
    _, actor = signed_in(accounts, "tim")
    people_clock.advance(minutes=16)

    traded = await desk.ask(Kind.CANCEL_ALL, actor=actor, account="main")
    stopped = await desk.ask(Kind.KILL, actor=actor, level=1, reason="enough")

    assert (traded.state, "nothing was pressed for 15 minutes" in traded.said) == (REFUSED, True)
    assert stopped.state is DONE
    assert {Kind.KILL, Kind.DISARM} == STOPS


async def test_what_was_asked_before_the_idleness_is_done(
    desk: PaperDesk, accounts: Accounts, people_clock: ManualClock
) -> None:
    """The engine came to it a minute later: that is the engine's slowness, not the person's."""
    _, actor = signed_in(accounts, "tim")
    people_clock.advance(minutes=14, seconds=30)
    key = desk.append(Kind.CANCEL_ALL, {"account": "main"}, actor=actor)
    people_clock.advance(minutes=1)
    desk.clock.advance(seconds=60)
    await desk.tick()

    answer = desk.inbox.answer(key)

    assert answer is not None
    assert "pressed" not in answer.said


async def test_who_stops_the_desk_and_signs_out_has_stopped_it(
    desk: PaperDesk, accounts: Accounts, people_clock: ManualClock
) -> None:
    """The engine comes to it later, even after the twelve hours; what is asked once all is over counts for nothing."""
    _, actor = signed_in(accounts, "tim")
    before = desk.append(Kind.KILL, {"level": 1, "reason": "enough"}, actor=actor)
    accounts.suspend("tim", by="olga")
    people_clock.advance(hours=13)
    desk.clock.advance(hours=13)
    after = desk.append(Kind.KILL, {"level": 1, "reason": "again"}, actor=actor)
    _, viewer = signed_in(accounts, "vera")
    never = desk.append(Kind.KILL, {"level": 1, "reason": "no"}, actor=viewer)
    accounts.revoke_all("vera", by="olga")
    await desk.tick()

    answers = [desk.inbox.answer(key) for key in (before, after, never)]

    assert [answer and answer.state for answer in answers] == [DONE, REFUSED, REFUSED]


async def test_this_machines_command_line_can_always_stop_the_desk(desk: PaperDesk) -> None:
    assert (await desk.ask(Kind.KILL, actor=LOCAL_OWNER, level=1, reason="from the command line")).state is DONE
    assert (await desk.ask(Kind.RE_ARM, actor=LOCAL_OWNER, reason="no")).state is REFUSED


async def test_arming_wants_a_one_time_code_each_time(
    desk: PaperDesk, accounts: Accounts, people_clock: ManualClock
) -> None:
    secret, actor = signed_in(accounts, "olga")
    assert "give a fresh one-time code" in (await desk.ask(Kind.ARM, actor=actor, account="main")).said

    totp = pyotp.TOTP(accounts.enrol(secret, PASSWORD).secret)
    accounts.confirm(secret, totp.at(people_clock.now()))
    first = await desk.ask(Kind.ARM, actor=actor, account="main")
    again = await desk.ask(Kind.ARM, actor=actor, account="main")

    assert "trades on paper" in first.said  # past the authority, and refused by the arming itself
    assert "give a fresh one-time code" in again.said


# Without a desk


def test_without_accounts_this_machines_owner_may_everything(tmp_path: Path) -> None:
    for authority in (Authority(), Authority(accounts_in(tmp_path))):
        assert all(authority.rule(LOCAL_OWNER, kind).allowed for kind in Kind)
        assert not any(authority.rule("olga/123", kind).allowed for kind in Kind)
        assert (authority.still(LOCAL_OWNER, Kind.PLACE), authority.still("olga", Kind.PLACE)) == (True, False)


def test_what_somebody_began_goes_on_while_the_role_stands(accounts: Accounts) -> None:
    """An adopted strategy trades for who adopted it, long after the sign-in; not for who was let go."""
    authority = Authority(accounts)
    assert [authority.still(name, Kind.PLACE) for name in ("olga", "tim", "vera", "nobody", LOCAL_OWNER)] == [
        True,
        True,
        False,
        False,
        True,
    ]

    accounts.suspend("tim", by="olga")

    assert not authority.still("tim", Kind.PLACE)


class Broken:
    """Accounts that cannot be read."""

    def any(self, *_: object) -> bool:
        raise LedgerUnusable("accounts.db: disk I/O error")

    role_of = of_actor = was = take_confirmation = any


def test_accounts_that_cannot_be_read_open_nothing_but_the_switch() -> None:
    authority = Authority(Broken())  # type: ignore[arg-type]

    for kind in Kind:
        ruling = authority.rule(LOCAL_OWNER, kind)
        assert ruling.allowed == (kind in STOPS)
        assert ruling.allowed or "cannot be looked up" in ruling.said
        assert authority.rule("olga/1", kind).allowed == (kind in STOPS)
        assert not any(authority.rule(actor, kind).allowed for actor in ("olga", "olga/", "/1", "/", ""))
    assert not authority.still("olga", Kind.PLACE)


def test_a_desk_whose_every_account_is_suspended_stays_shut(accounts: Accounts) -> None:
    accounts.suspend("tim", by="olga")
    with accounts._database.write() as db:
        db.exec_driver_sql("UPDATE accounts SET suspended = 1")

    assert not Authority(accounts).rule(LOCAL_OWNER, Kind.PLACE).allowed


def test_a_name_is_read_off_a_reference() -> None:
    assert [name_of(actor) for actor in ("ada/12", "owner", "a/b/c", "")] == ["ada", "owner", "a", ""]
