"""One sign-in, and who may use it: exactly one process of a data folder talks to E*TRADE, the one whose engine acts.

    session = EtradeSession(settings, SystemClock())
    await session.keep_alive()             # takes the ownership where it is free; call it about once a minute
    url = await session.link()             # a person opens it and copies the code
    accounts = await session.finish("WX8Y2")

All calls belong on one event loop; `status()` may be read from any thread. Nothing secret is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from filelock import FileLock, Timeout

from domain.clock import Clock
from domain.errors import DeskError, FeedUnavailable, SignInNeeded
from domain.instruments import instrument
from etrade.accounts import Account, Balance, named
from etrade.doctor import Check, doctor
from etrade.errors import EtradeError, SignInAgain
from etrade.simulated_time import SimulatorClock, TimedTransport
from etrade.tokens import RequestToken, SignIn, TokenState, TokenStore, explain, midnight_after
from etrade.transport import AiohttpTransport, Transport
from etrade_client import EtradeClient, EtradeReader
from settings import Settings

LABELS = {"production": "E*TRADE", "sandbox": "E*TRADE sandbox", "simulator": "E*TRADE (simulator)"}
SIGN_IN = "Sign in to E*TRADE: Settings → E*TRADE"
ELSEWHERE = "Another process on this machine talks to E*TRADE: use the dashboard or engine that does, or stop it."
NOT_YET = "E*TRADE is read by the engine's process, and no engine has taken it over yet."
WISHES_LAST_S = 30.0
MOST_WISHES = 1_000


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """An account as it may be shown; amounts as text, None where they were not read."""

    account: str
    type: str
    mode: str
    value: str | None = None
    cash: str | None = None
    buying_power: str | None = None


@dataclass(frozen=True, slots=True)
class ModuleLeft:
    """What is left of a module's calls."""

    module: str
    left_in_hour: int
    per_hour: int
    per_second: int


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """How it stands, as may be shown and kept. `state` is live, idle, dead, key refused, none, or elsewhere where
    another process owns it; `seconds_left` until midnight in New York; `problem` the last one, in plain words;
    `account` the one to use, or how many there are where none was named."""

    environment: str
    label: str
    state: str
    said: str
    owner: bool
    seconds_left: float
    ends: datetime
    issued_at: datetime | None = None
    sleeps: datetime | None = None
    problem: str = ""
    skew_s: float | None = None
    account: str = ""
    accounts: tuple[AccountSeen, ...] = ()
    budget: tuple[ModuleLeft, ...] = ()

    @property
    def signed_in(self) -> bool:
        return self.state in (TokenState.LIVE, TokenState.IDLE)

    def to_json(self) -> dict[str, Any]:
        """JSON values; times as ISO text."""
        told = {name: _plain(value) for name, value in asdict(self).items()}
        return {**told, "signed_in": self.signed_in}


class EtradeSession:
    """The client of this process, for as long as it is the owner. `transport` and `store` stand in for the real ones;
    only where it `trades` is there a client that can order, else one that reads.

    SettingsError where E*TRADE is off or a key is missing.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        transport: Transport | None = None,
        store: TokenStore | None = None,
        trades: bool = False,
    ) -> None:
        self._settings, self._store, self.trades = settings, store, trades
        self.environment = settings.etrade_environment
        self.label = LABELS.get(self.environment, "E*TRADE")
        inner = transport or AiohttpTransport()
        self.clock: Clock = clock
        if self.environment == "simulator":
            moved = SimulatorClock(clock, settings.etrade_simulator_url)
            self.clock, inner = moved, TimedTransport(inner, moved)
        self._transport = inner
        EtradeReader.from_settings(settings, self.clock, transport=inner, store=_NoStore())  # checks the settings
        self._folder = settings.etrade_dir
        # Not by thread: claimed on the bridge's loop, it must be seen as held from every thread.
        self._lock = FileLock(self._folder / "owner.lock", timeout=0, thread_local=False)
        self._client: EtradeReader | None = None
        self._claiming = asyncio.Lock()
        self._asked: RequestToken | None = None
        self._problem = ""
        self._accounts: tuple[AccountSeen, ...] = ()
        self._balances: dict[str, Balance] = {}
        self._account = ""
        self._budget: tuple[ModuleLeft, ...] = ()

    # Who may use it

    @property
    def owner(self) -> bool:
        return self._client is not None

    @property
    def may_ask(self) -> bool:
        """Whether this process has the ownership and a sign-in that may be used. From any thread."""
        client = self._client
        return client is not None and client.sign_in().usable

    @property
    def client(self) -> EtradeReader:
        """The client. FeedUnavailable where another process owns it."""
        if self._client is None:
            raise FeedUnavailable(ELSEWHERE if self.owned_elsewhere() else NOT_YET)
        return self._client

    @property
    def trader(self) -> EtradeClient:
        """The client, where it may order. FeedUnavailable as `client`; TypeError where this session only reads."""
        if not isinstance(client := self.client, EtradeClient):
            raise TypeError("this E*TRADE session only reads: it was not made to trade")
        return client

    @property
    def clock_skew_s(self) -> float | None:
        """How far E*TRADE's clock is ahead of ours; None where it has not been seen. From any thread."""
        client = self._client
        return None if client is None else client.clock_skew_s

    def owned_elsewhere(self) -> bool:
        """Whether another process, or another session of this one, has the ownership now."""
        if self.owner or not self._folder.is_dir():
            return False
        try:
            self._lock.acquire()
        except (Timeout, OSError):
            return True
        self._lock.release()
        return False

    async def claim(self) -> bool:
        """Become the owner where nobody is. The kept token is read now, and one from `.env` taken over."""
        async with self._claiming:
            if self._client is not None:
                return True
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock.acquire()
            except (Timeout, OSError):
                return False
            try:
                self._client = await asyncio.to_thread(self._made)
            except BaseException:
                self._lock.release()
                raise
        await self._tried(self._begin(self._client))
        return True

    async def release(self) -> None:
        """Let another process have it; the sign-in stays kept on disk."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
            self._lock.release()

    async def close(self) -> None:
        """Give everything back. Safe to call twice."""
        await self.release()
        await self._transport.close()

    def _made(self) -> EtradeReader:
        kind = EtradeClient if self.trades else EtradeReader
        return kind.from_settings(self._settings, self.clock, transport=self._transport, store=self._store or None)

    async def _begin(self, client: EtradeReader) -> None:
        """A token in `.env` is taken over, once; then what a sign-in shows is read."""
        token, secret = self._settings.etrade_access_token, self._settings.etrade_access_token_secret
        if token and secret and client.sign_in().state is not TokenState.KEY_REFUSED:
            await client.take_over(token, secret)
        if client.sign_in().usable:
            await self._look(client)

    def _forget(self) -> None:
        self._accounts, self._account = (), ""
        self._balances.clear()

    # Signing in and out

    async def link(self) -> str:
        """The address where a person lets this program in; good for five minutes."""
        client = await self._mine()
        self._asked = await self._kept(client.request_token())
        return client.authorize_url(self._asked)

    async def finish(self, code: str) -> tuple[AccountSeen, ...]:
        """Sign in with the code of the last link: the accounts found. SignInAgain where code or link are no good."""
        client = await self._mine()
        if self._asked is None:
            raise SignInAgain("open the sign-in link first: a code belongs to the link it came from")
        await self._kept(client.access_token(self._asked, code))
        self._asked, self._problem = None, ""
        await self._tried(self._look(client))
        return self._accounts

    async def sign_out(self) -> None:
        """End the sign-in here and at E*TRADE."""
        client = await self._mine()
        self._forget()
        if client.sign_in().usable:
            await self._kept(client.revoke())

    async def keep_alive(self) -> None:
        """Claim it where nobody owns it, and wake a token that idles. Nothing is raised where nobody is signed in."""
        if not await self.claim():
            return
        client = self.client
        if client.sign_in().usable:
            await self._tried(client.keep_awake())
        else:
            await self._tried(self._begin(client))
        if not client.sign_in().usable:
            self._forget()
        elif not self._accounts:
            await self._tried(self._look(client))
        self._count()

    async def check(self, account: str = "") -> list[Check]:
        """The doctor's list, about this account (its name) where one was picked."""
        client = await self._mine()
        number = self._settings.etrade_account_id
        if account and client.sign_in().usable:
            found = named(await client.accounts()).get(account)
            number = found.number if found else number
        checks = await doctor(client, account_number=number)
        if client.sign_in().usable:
            await self._tried(self._look(client))
        self._count()
        return checks

    def need(self) -> EtradeReader:
        """The client of a sign-in that may be used; FeedUnavailable without asking E*TRADE where there is none."""
        client = self.client
        if not client.sign_in().usable:
            raise FeedUnavailable(SIGN_IN)
        return client

    def went_wrong(self, error: DeskError) -> None:
        """Keep what the last problem was, in plain words."""
        problem = getattr(error, "problem", "")
        self._problem = str(explain(problem)) if problem else str(error)

    def went_well(self) -> None:
        self._problem = ""
        self._count()

    # What may be shown

    def status(self) -> SessionStatus:
        """How it stands now, without asking E*TRADE."""
        client, now = self._client, self.clock.now()
        ends = midnight_after(now)
        left = (ends - now).total_seconds()
        if client is None:
            said = ELSEWHERE if self.owned_elsewhere() else NOT_YET
            return SessionStatus(self.environment, self.label, "elsewhere", said, False, left, ends)
        stand: SignIn = client.sign_in()
        usable = stand.usable
        return SessionStatus(
            environment=self.environment,
            label=self.label,
            state=str(stand.state),
            said=stand.said,
            owner=True,
            seconds_left=round(left, 1),
            ends=ends,
            issued_at=stand.issued_at,
            sleeps=stand.sleeps if usable else None,
            problem=self._problem,
            skew_s=None if client.clock_skew_s is None else round(client.clock_skew_s, 1),
            account=self._account if usable else "",
            accounts=self._accounts if usable else (),
            budget=self._budget,
        )

    # What other processes would like to see

    def wish(self, symbols: Iterable[str]) -> None:
        """Tell the owner which symbols this process looks at."""
        path = self._folder / "wanted" / f"{os.getpid()}.json"
        body = json.dumps({"at": self.clock.now().timestamp(), "symbols": sorted(set(symbols))[:MOST_WISHES]})
        fresh = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_text(body, encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            self._problem = f"the wish for quotes could not be left for the owner ({error.strerror})"

    def wished(self) -> set[str]:
        """What other processes looked at in the last half minute."""
        now, found = self.clock.now().timestamp(), set[str]()
        for path in (self._folder / "wanted").glob("*.json"):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                age = now - float(told["at"])
                if age > WISHES_LAST_S:
                    path.unlink(missing_ok=True)
                elif path.stem != str(os.getpid()):
                    found |= {instrument(symbol).symbol for symbol in told["symbols"][:MOST_WISHES]}
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    # Inside

    async def _mine(self) -> EtradeReader:
        if not await self.claim():
            raise SignInNeeded(ELSEWHERE)
        return self.client

    async def _look(self, client: EtradeReader) -> None:
        """The accounts, and what is in them."""
        listed = await client.accounts()
        names = {one.key: name for name, one in named(listed).items()}
        accounts = [one for one in listed if one.usable]
        number = self._settings.etrade_account_id
        chosen = next((one for one in accounts if one.number == number), accounts[0] if len(accounts) == 1 else None)
        many = f"{len(accounts)} accounts" if accounts else "no account"
        self._account = names[chosen.key] if chosen else many
        self._accounts = tuple(_seen(names[one.key], one, self._balances.get(one.key)) for one in accounts)
        for one in accounts:
            self._balances[one.key] = await client.balance(one.key)
            self._accounts = tuple(_seen(names[each.key], each, self._balances.get(each.key)) for each in accounts)

    async def _kept(self, work: Any) -> Any:
        """What `work` gives; its error is kept as the last problem on its way up."""
        try:
            found = await work
        except EtradeError as error:
            self.went_wrong(error)
            raise
        finally:
            self._count()
        self._problem = ""
        return found

    async def _tried(self, work: Any) -> None:
        """Do it; an error is only kept as the last problem."""
        try:
            await work
        except DeskError as error:
            self.went_wrong(error)

    def _count(self) -> None:
        if self._client is not None:
            left = self._client.budget().items()
            self._budget = tuple(ModuleLeft(str(m), b.left_in_hour, b.per_hour, b.per_second) for m, b in left)


class _NoStore:
    """For a client that is only made to see whether it could be."""

    def load(self, environment: str, keys: Any) -> tuple[None, str]:
        return None, ""

    def save(self, token: Any, keys: Any) -> None: ...


def _seen(name: str, account: Account, balance: Balance | None = None) -> AccountSeen:
    if balance is None:
        return AccountSeen(name, account.description or account.type, account.mode)
    cash, power = balance.net_cash, balance.buying_power
    return AccountSeen(
        name,
        account.description or account.type,
        account.mode,
        _amount(balance.total_value),
        _amount(cash),
        _amount(power),
    )


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
