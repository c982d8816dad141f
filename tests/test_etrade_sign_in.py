"""Signing in through the engine: a wish in the inbox, a person at E*TRADE's page, and a sign-in that is kept awake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootstrap import BridgedSession
from desk import signing_in
from domain.commands import Answer, CommandState, Kind
from etrade.session import EtradeSession
from etrade.simulated_time import SimulatorClock
from etrade.vault import Vault, file_key
from settings import Settings
from simulator.running import Running, running
from tests.etrade_person import code_of
from tests.trading import PaperDesk, trading

DONE, REFUSED = CommandState.DONE, CommandState.REFUSED


@dataclass(slots=True)
class House:
    """A desk whose engine may sign in, and the E*TRADE it signs in to."""

    desk: PaperDesk
    sim: Running
    session: EtradeSession

    async def ask(self, step: str, **more: str) -> Answer:
        key = self.desk.append(Kind.SIGN_IN, {"step": step, **more})
        for _ in range(300):
            assert self.desk.engine is not None
            await self.desk.engine.turn()
            if (answer := self.desk.inbox.answer(key)) is not None:
                return answer
            await asyncio.sleep(0.02)
        raise AssertionError(f"{step} was not answered")

    async def sign_in(self) -> Answer:
        link = await self.ask("link")
        return await self.ask("code", code=await asyncio.to_thread(code_of, link.details["url"]))

    async def move(self, **by: float) -> None:
        """Time goes on, there and here; then the engine turns until the session was minded."""
        self.sim.control("clock", by=timedelta(**by).total_seconds())
        self.desk.clock.advance(**by)
        assert isinstance(self.session.clock, SimulatorClock)
        self.session.clock.hear(datetime.fromisoformat(self.sim.control("", "GET")["now"]))
        await self.turns()

    async def turns(self, many: int = 25) -> None:
        for _ in range(many):
            await self._turn()
        for _ in range(400):  # it is minded beside the turns; an idle one is about to be woken
            if self._state() != "idle":
                break
            await self._turn()

    async def _turn(self) -> None:
        await self.desk.tick(seconds=0.1)
        await asyncio.sleep(0.01)

    def _state(self) -> str:
        engine = self.desk.reader.engine()
        return "" if engine is None else str(engine.details.get("etrade", {}).get("state", ""))

    def told(self) -> dict[str, Any]:
        engine = self.desk.reader.engine()
        assert engine is not None
        found: dict[str, Any] = engine.details["etrade"]
        return found

    def problems(self) -> str:
        engine = self.desk.reader.engine()
        assert engine is not None
        return " ".join(engine.details["problems"])

    def calls(self) -> dict[str, Any]:
        told = self.sim.control("counters", "GET")
        found: dict[str, Any] = {**told["calls"], **told["routes"]}
        return found


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(signing_in, "KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr(signing_in, "CLAIM_AGAIN_S", 0.0)
    with running() as sim:
        wish = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url}
        settings = Settings(data_dir=tmp_path / "data", **wish)
        async with trading(tmp_path) as desk:
            session = EtradeSession(settings, desk.clock, store=Vault(settings.etrade_dir, file_key))
            assert desk.engine is not None
            desk.engine.tools.session = BridgedSession(session, across=_here)
            house = House(desk, sim, session)
            await house.turns(10)
            yield house
            await desk.stop()
            await session.close()


async def _here(work: Any) -> Any:
    return await work


async def test_a_link_a_code_and_the_accounts_are_there(house: House) -> None:
    assert house.told()["state"] == "none"
    assert "Sign in to E*TRADE: Settings → E*TRADE" in house.problems()

    answer = await house.sign_in()
    await house.turns()

    assert answer.state is DONE
    assert "Signed in until midnight in New York, 13 h" in answer.said
    assert [one["account"] for one in answer.details["accounts"]] == [
        one["account"] for one in house.told()["accounts"]
    ]
    assert all(one["account"].startswith("••••") for one in house.told()["accounts"])
    assert house.told()["signed_in"]
    assert "Sign in" not in house.problems()


async def test_a_wrong_code_and_a_code_without_a_link_are_refused_in_words(house: House) -> None:
    early = await house.ask("code", code="WX8Y2")
    await house.ask("link")
    wrong, empty = await house.ask("code", code="AAAAA"), await house.ask("code", code="")

    assert {one.state for one in (early, wrong, empty)} == {REFUSED}
    assert "open the sign-in link first" in early.said
    assert "open the sign-in link and paste a new code" in wrong.said
    assert "that is no code" in empty.said


async def test_nothing_secret_is_told(house: House) -> None:
    await house.sign_in()
    await house.turns()
    text = str(house.told())

    kept = house.session.client._keeper.token
    assert kept is not None
    assert not any(secret in text for secret in (kept.pair.token, kept.pair.secret, "simulator-secret"))
    assert not any(account.account_id in text for account in house.sim.server.state.accounts)


async def test_at_midnight_in_new_york_somebody_must_sign_in_and_no_call_is_made_before(house: House) -> None:
    await house.sign_in()
    await house.move(hours=13, minutes=31)
    before = house.calls()

    await house.move(minutes=10)

    assert house.calls() == before
    assert house.told()["state"] == "dead"
    assert "as every day at midnight" in house.told()["said"]
    assert "Sign in to E*TRADE" in house.problems()
    assert (await house.sign_in()).state is DONE
    await house.turns()
    assert house.told()["state"] == "live"


async def test_a_sign_in_that_idles_is_renewed_and_verified(house: House) -> None:
    await house.sign_in()
    await house.turns()

    for _ in range(3):
        await house.move(minutes=95)

    assert house.calls()["oauth/renew_access_token"] == 3
    assert house.told()["state"] == "live"


async def test_a_token_that_slept_is_woken(house: House) -> None:
    await house.sign_in()
    await house.turns()

    await house.move(hours=3)

    assert house.told()["state"] == "live"
    assert house.told()["problem"] == ""


async def test_a_refused_key_is_said_with_its_cure(house: House) -> None:
    await house.sign_in()
    house.sim.control("tokens", reject_key=True)
    await house.move(minutes=95)

    assert house.told()["state"] == "key refused"
    assert "no longer takes this consumer key" in house.told()["said"]
    before = house.calls()
    await house.move(minutes=95)
    assert house.calls() == before
    assert (await house.ask("link")).state is REFUSED


async def test_signing_out_ends_it_at_etrade_too(house: House) -> None:
    await house.sign_in()

    answer = await house.ask("out")
    await house.turns()

    assert answer.state is DONE
    assert house.told()["state"] == "dead"
    assert house.told()["accounts"] == []
    assert [one["state"] for one in house.sim.control("", "GET")["tokens"]] == ["revoked"]


async def test_the_doctor_tells_one_thing_after_the_other(house: House) -> None:
    unsigned = await house.ask("check")
    await house.sign_in()
    house.sim.price("SPY", "600.00")
    signed = await house.ask("check")

    assert [(c["name"], c["verdict"]) for c in unsigned.details["checks"]][-1] == ("sign-in", "fail")
    assert [c["name"] for c in signed.details["checks"]][:5] == ["keys", "clock", "sign-in", "accounts", "prices"]


async def test_a_sign_in_survives_a_restart_of_the_engine(house: House) -> None:
    await house.sign_in()
    session = house.desk.engine.tools.session  # type: ignore[union-attr]
    await house.desk.stop()
    assert not house.session.owner

    await house.desk.start()
    house.desk.engine.tools.session = session  # type: ignore[union-attr]
    await house.turns()

    assert house.told()["state"] == "live"
    assert len(house.told()["accounts"]) == 2


async def test_only_the_owner_may_ask_and_a_desk_without_a_session_says_so(house: House) -> None:
    stranger = house.desk.append(Kind.SIGN_IN, {"step": "link"}, actor="stranger")
    await house.turns(3)
    house.desk.engine.tools.session = None  # type: ignore[union-attr]

    none = await house.ask("link")

    told = house.desk.inbox.answer(stranger)
    assert told is not None
    assert told.state is REFUSED
    assert none.state is REFUSED
    assert "no broker to sign in to" in none.said


async def test_a_slow_etrade_holds_up_no_turn(house: House) -> None:
    house.sim.fault("delay", where="request_token", seconds=1.0)
    key = house.desk.append(Kind.SIGN_IN, {"step": "link"})
    began = asyncio.get_running_loop().time()

    await house.turns(5)

    assert asyncio.get_running_loop().time() - began < 0.9
    assert house.desk.inbox.answer(key) is None
