"""The sign-in across its day: what a token is worth by the clock, what is kept on disk, and no call on a dead one."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from domain.clock import ManualClock
from domain.errors import SettingsError, SignInNeeded
from etrade import vault as vaults
from etrade.signing import Keys, Pair
from etrade.tokens import Token, TokenState, explain, midnight_after
from etrade.vault import NOBODY, Vault, file_key
from etrade_client import (
    EtradeClient,
    KeyRefused,
    RequestWrong,
    SignInAgain,
    Unavailable,
    seconds_to_midnight,
)
from settings import Settings, load
from tests.etrade_server import (
    ACCOUNTS,
    CODE,
    KEY,
    KEYS,
    SECRET,
    TOKEN,
    MemoryStore,
    Server,
    Tempo,
    make_client,
    problem,
    running,
    says,
)

NEW_YORK = ZoneInfo("America/New_York")
PAIR = Pair(TOKEN, SECRET)


def new_york(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=NEW_YORK).astimezone(UTC)  # type: ignore[misc]


@pytest.fixture
async def server(clock: ManualClock) -> AsyncIterator[Server]:
    async with running(clock) as made:
        yield made


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(Token(PAIR, "simulator", clock.now(), clock.now()))


@pytest.fixture
async def client(server: Server, store: MemoryStore, clock: ManualClock) -> AsyncIterator[EtradeClient]:
    made = make_client(server, store, Tempo(clock))
    yield made
    await made.close()


# The clock


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (new_york(2026, 11, 20, 10, 30), 13.5 * 3600),
        (new_york(2026, 11, 20, 23, 59, 59), 1),
        (new_york(2026, 11, 21, 0, 0), 24 * 3600),
        (new_york(2026, 3, 8, 0, 0), 23 * 3600),  # spring: an hour is missing
        (new_york(2026, 3, 8, 1, 59, 59), 21 * 3600 + 1),
        (new_york(2026, 11, 1, 0, 0), 25 * 3600),  # autumn: an hour comes twice
        (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 23.5 * 3600),  # the first 01:30
        (datetime(2026, 11, 1, 6, 30, tzinfo=UTC), 22.5 * 3600),  # the second 01:30
    ],
)
def test_seconds_to_midnight_in_new_york(now: datetime, seconds: float) -> None:
    assert seconds_to_midnight(now) == seconds


@given(st.integers(0, 10 * 366 * 86_400))
def test_midnight_is_the_first_moment_of_the_next_day_in_new_york(seconds: int) -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    end = midnight_after(now)
    there, before = end.astimezone(NEW_YORK), (end - timedelta(microseconds=1)).astimezone(NEW_YORK)

    assert timedelta(0) < end - now <= timedelta(hours=25)
    assert (there.hour, there.minute, there.second) == (0, 0, 0)
    assert before.date() == now.astimezone(NEW_YORK).date()


@pytest.mark.parametrize(
    ("issued", "used", "now", "state"),
    [
        ((2026, 11, 20, 9, 0), (2026, 11, 20, 9, 0), (2026, 11, 20, 10, 59, 59), TokenState.LIVE),
        ((2026, 11, 20, 9, 0), (2026, 11, 20, 9, 0), (2026, 11, 20, 11, 0), TokenState.IDLE),
        ((2026, 11, 20, 9, 0), (2026, 11, 20, 23, 59), (2026, 11, 20, 23, 59, 59), TokenState.LIVE),
        ((2026, 11, 20, 9, 0), (2026, 11, 20, 23, 59), (2026, 11, 21, 0, 0), TokenState.DEAD),
        ((2026, 3, 7, 23, 0), (2026, 3, 7, 23, 59), (2026, 3, 8, 0, 0), TokenState.DEAD),
        ((2026, 3, 8, 0, 0), (2026, 3, 8, 23, 0), (2026, 3, 8, 23, 59, 59), TokenState.LIVE),
        ((2026, 11, 1, 0, 0), (2026, 11, 1, 23, 0), (2026, 11, 1, 23, 59, 59), TokenState.LIVE),
        ((2026, 11, 1, 0, 0), (2026, 11, 1, 23, 0), (2026, 11, 2, 0, 0), TokenState.DEAD),
    ],
)
def test_what_a_token_is_worth(
    issued: tuple[int, ...], used: tuple[int, ...], now: tuple[int, ...], state: TokenState
) -> None:
    token = Token(PAIR, "simulator", new_york(*issued), new_york(*used))

    assert token.state(new_york(*now)) is state


@pytest.mark.parametrize("day", [(2026, 11, 19), (2026, 3, 7), (2026, 3, 8), (2026, 10, 31), (2026, 11, 1)])
async def test_a_day_from_sign_in_over_midnight_to_sign_in(day: tuple[int, int, int]) -> None:
    """Sign in at 20:00, trade, sleep two hours, be renewed, cross midnight, be told, sign in again: and not one call
    on a token known to be dead. On ordinary days and around both changes of the clock."""
    clock = ManualClock(new_york(*day, 20, 0))
    async with running(clock) as server:
        client = make_client(server, MemoryStore(), Tempo())
        await client.access_token(await client.request_token(), CODE)
        await client.accounts()
        ends = client.sign_in().ends
        assert ends == midnight_after(clock.now())

        clock.advance(hours=2, minutes=1)
        server.sleeping = True
        assert client.sign_in().state is TokenState.IDLE
        await client.accounts()
        assert (server.count("renew"), client.sign_in().state) == (1, TokenState.LIVE)

        clock.advance(seconds=seconds_to_midnight(clock.now()) - 1)
        await client.accounts()
        asked = len(server.asked)
        clock.advance(seconds=1)
        for call in (client.accounts, client.renew, lambda: client.cancel(KEY, 1), client.keep_awake):
            if call == client.keep_awake:
                assert (await client.keep_awake()).state is TokenState.DEAD
                continue
            with pytest.raises(SignInNeeded, match="midnight in New York"):
                await call()
        assert client.sign_in().state is TokenState.DEAD
        assert len(server.asked) == asked

        await client.access_token(await client.request_token(), CODE)
        await client.accounts()
        assert client.sign_in().state is TokenState.LIVE
        assert server.bad == []
        await client.close()


async def test_midnight_that_comes_while_waiting_is_noticed(server: Server, clock: ManualClock) -> None:
    """The wait for a turn may take a call past midnight: it is not signed then."""
    clock.time = new_york(2026, 11, 20, 23, 59, 59)
    store = MemoryStore(Token(PAIR, "simulator", clock.now(), clock.now()))
    client = make_client(server, store, Tempo(clock))
    await client.accounts()
    await client.accounts()

    with pytest.raises(SignInAgain, match="midnight"):
        await client.accounts()
    assert len(server.asked) == 2
    await client.close()


# Renewal


async def test_a_token_is_renewed_at_ninety_minutes_and_verified(client: EtradeClient, server: Server) -> None:
    server.clock.advance(minutes=89)
    await client.keep_awake()
    assert server.asked == []

    server.clock.advance(minutes=1)
    await client.keep_awake()

    assert [asked.path for asked in server.asked] == ["/oauth/renew_access_token", "/v1/accounts/list.json"]
    await client.keep_awake()
    assert len(server.asked) == 2


async def test_a_sleeping_token_is_woken_before_an_order_goes_out(client: EtradeClient, server: Server) -> None:
    server.clock.advance(hours=3)
    server.sleeping = True
    server.next("/cancel", says({"CancelOrderResponse": {"orderId": 7}}))

    await client.cancel(KEY, 7)

    assert [asked.path.rpartition("/")[2] for asked in server.asked] == [
        "renew_access_token",
        "list.json",
        "cancel.json",
    ]


async def test_many_calls_wake_it_once(client: EtradeClient, server: Server) -> None:
    import asyncio

    server.clock.advance(hours=3)
    server.sleeping = True

    await asyncio.gather(*(client.accounts() for _ in range(5)))
    assert server.count("renew") == 1


async def test_a_401_on_a_read_is_renewed_once_and_asked_again(client: EtradeClient, server: Server) -> None:
    server.sleeping = True

    assert len(await client.accounts()) == 1
    assert [asked.path.rpartition("/")[2] for asked in server.asked] == [
        "list.json",
        "renew_access_token",
        "list.json",
        "list.json",
    ]


async def test_a_renewal_that_says_yes_and_does_nothing_is_seen(
    client: EtradeClient, server: Server, store: MemoryStore
) -> None:
    server.sleeping, server.wakes = True, False

    with pytest.raises(SignInAgain, match="sign-in link"):
        await client.accounts()
    asked = len(server.asked)
    with pytest.raises(SignInAgain):
        await client.accounts()

    assert len(server.asked) == asked
    assert store.kept is not None
    assert store.kept.refused == "token_rejected"


async def test_a_refused_renewal_is_not_asked_for_again_after_a_restart(
    client: EtradeClient, server: Server, store: MemoryStore
) -> None:
    server.sleeping, server.renews = True, False
    with pytest.raises(SignInAgain):
        await client.accounts()

    again = make_client(server, store, Tempo(server.clock))
    asked = len(server.asked)
    with pytest.raises(SignInAgain):
        await again.accounts()
    assert len(server.asked) == asked
    await again.close()


async def test_a_renewal_that_cannot_be_reached_kills_nothing(client: EtradeClient, server: Server) -> None:
    server.clock.advance(minutes=95)
    server.next("renew", *[says(b"", 500) for _ in range(3)])

    with pytest.raises(Unavailable):
        await client.keep_awake()
    assert client.sign_in().state is TokenState.LIVE
    assert (await client.keep_awake()).state is TokenState.LIVE


@pytest.mark.parametrize("word", ["token_revoked", "token_expired"])
async def test_a_token_e_trade_ended_is_dead_at_once(client: EtradeClient, server: Server, word: str) -> None:
    server.renews = False
    server.next("/list", problem(word))
    with pytest.raises(SignInAgain):
        await client.accounts()
    asked = len(server.asked)

    with pytest.raises(SignInAgain):
        await client.accounts()
    assert client.sign_in().state is TokenState.DEAD
    assert len(server.asked) == asked


async def test_a_refused_key_stops_every_call_until_a_sign_in_succeeds(client: EtradeClient, server: Server) -> None:
    server.next("/list", problem("consumer_key_rejected"))
    with pytest.raises(KeyRefused, match="no longer takes"):
        await client.accounts()
    asked = len(server.asked)

    with pytest.raises(KeyRefused):
        await client.accounts()
    assert (client.sign_in().state, len(server.asked)) == (TokenState.KEY_REFUSED, asked)

    await client.access_token(await client.request_token(), CODE)
    assert client.sign_in().state is TokenState.LIVE


@pytest.mark.parametrize("word", ["timestamp_refused", "signature_invalid"])
async def test_a_wrong_clock_or_secret_does_not_end_a_sound_sign_in(
    client: EtradeClient, server: Server, word: str
) -> None:
    server.next("/list", problem(word))

    with pytest.raises(SignInAgain) as caught:
        await client.accounts()
    assert caught.value.problem == word
    assert client.sign_in().state is TokenState.LIVE


async def test_a_call_that_is_forbidden_does_not_end_the_sign_in(client: EtradeClient, server: Server) -> None:
    server.stays["/balance"] = lambda: says({"Error": {"message": "Unauthorized request"}}, 401)

    with pytest.raises(RequestWrong, match="does not allow the balance"):
        await client.balance(KEY)
    assert client.sign_in().state is TokenState.LIVE


async def test_an_answer_to_an_older_token_does_not_end_the_newer_one(
    client: EtradeClient, server: Server, store: MemoryStore
) -> None:
    old = store.kept
    assert old is not None
    await client.access_token(await client.request_token(), CODE)
    newer = client._keeper.take(Pair("newer token", "newer secret"))

    client._keeper.refuse(old, "token_revoked")

    assert client._keeper.token == newer
    assert client.sign_in().state is TokenState.LIVE


async def test_use_is_written_down_once_a_minute(client: EtradeClient, server: Server, store: MemoryStore) -> None:
    for _ in range(3):
        await client.accounts()
    assert store.saves == 0

    server.clock.advance(minutes=2)
    await client.accounts()
    assert store.saves == 1
    assert store.kept is not None
    assert store.kept.last_used == server.clock.now()


async def test_the_skew_of_the_clocks_is_measured(client: EtradeClient, server: Server) -> None:
    assert client.clock_skew_s is None
    server.dates = False
    server.next("/list", says(ACCOUNTS, Date=f"{server.clock.now() - timedelta(seconds=90):%a, %d %b %Y %H:%M:%S} GMT"))

    await client.accounts()

    assert client.clock_skew_s == pytest.approx(-89.5, abs=1.1)


@pytest.mark.parametrize(
    "word",
    [
        "token_expired",
        "token_rejected",
        "token_revoked",
        "signature_invalid",
        "consumer_key_unknown",
        "consumer_key_rejected",
        "timestamp_refused",
        "nonce_used",
        "parameter_absent",
        "callback_rejected",
        "never_heard_of",
        "",
        "<script>",
    ],
)
def test_each_problem_has_a_meaning_and_a_cure(word: str) -> None:
    said = explain(word)

    assert said.meaning
    assert said.cure
    assert "<" not in str(said)


# Taken over from .env


async def test_a_token_from_env_is_verified_and_kept(server: Server, clock: ManualClock) -> None:
    store = MemoryStore()
    client = make_client(server, store, Tempo(clock))

    assert (await client.take_over("", "")).state is TokenState.NONE
    assert (await client.take_over(TOKEN, SECRET)).state is TokenState.LIVE
    assert store.kept is not None
    assert store.kept.pair == PAIR
    assert server.count("/list") == 1

    await client.take_over(TOKEN, SECRET)
    await client.accounts()
    assert len(server.asked) == 2
    await client.close()


async def test_a_sleeping_token_from_env_is_woken(server: Server, clock: ManualClock) -> None:
    server.sleeping = True
    client = make_client(server, MemoryStore(), Tempo(clock))

    assert (await client.take_over(TOKEN, SECRET)).state is TokenState.LIVE
    await client.close()


async def test_a_dead_token_from_env_is_tried_once_and_never_again(server: Server, clock: ManualClock) -> None:
    server.sleeping, server.renews = True, False
    store = MemoryStore()
    client = make_client(server, store, Tempo(clock))

    assert (await client.take_over(TOKEN, SECRET)).state is TokenState.DEAD
    asked = len(server.asked)
    again = make_client(server, store, Tempo(clock))
    assert (await again.take_over(TOKEN, SECRET)).state is TokenState.DEAD
    assert len(server.asked) == asked
    await client.close()
    await again.close()


async def test_a_token_that_could_not_be_verified_is_tried_another_time(server: Server, clock: ManualClock) -> None:
    store = MemoryStore()
    client = make_client(server, store, Tempo(clock))
    server.next("/list", *[says(b"", 500) for _ in range(3)])

    with pytest.raises(Unavailable):
        await client.take_over(TOKEN, SECRET)
    assert store.kept is None
    assert (await client.take_over(TOKEN, SECRET)).state is TokenState.LIVE
    await client.close()


async def test_yesterdays_token_from_env_is_not_taken_over_anew_after_midnight(
    server: Server, clock: ManualClock
) -> None:
    store = MemoryStore()
    client = make_client(server, store, Tempo(clock))
    await client.take_over(TOKEN, SECRET)
    clock.advance(days=1)
    asked = len(server.asked)

    assert (await client.take_over(TOKEN, SECRET)).state is TokenState.DEAD
    assert len(server.asked) == asked
    await client.close()


async def test_a_wrong_clock_does_not_use_up_the_token_from_env(server: Server, clock: ManualClock) -> None:
    store = MemoryStore()
    client = make_client(server, store, Tempo(clock))
    server.next("/list", problem("timestamp_refused"))

    with pytest.raises(SignInAgain, match="clock"):
        await client.take_over(TOKEN, SECRET)
    assert store.kept is None
    await client.close()


# On disk


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "etrade", file_key)


def a_token(clock: ManualClock) -> Token:
    now = clock.now()
    return Token(PAIR, "simulator", now, now + timedelta(minutes=5), "token_revoked", "mark")


def test_what_is_kept_comes_back_and_nobody_else_can_read_it(vault: Vault, clock: ManualClock, tmp_path: Path) -> None:
    token = a_token(clock)
    vault.save(token, KEYS)

    assert Vault(tmp_path / "etrade", file_key).load("simulator", KEYS) == (token, "")
    folder = tmp_path / "etrade"
    assert sorted(path.name for path in folder.iterdir()) == ["key", "simulator.token"]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        assert not [word for word in (TOKEN, SECRET, KEYS.key, KEYS.secret, "CANARY") if word.encode() in content]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_kept_is_no_token_and_one_sentence(vault: Vault) -> None:
    assert vault.load("simulator", KEYS) == (None, NOBODY)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(os.urandom(500)), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"A", b"B", 1)), "damaged"),
        (lambda path: (path.parent / "key").write_bytes(Fernet.generate_key()), "damaged"),
        (lambda path: (path.parent / "key").write_bytes(b"no key"), "its key is damaged"),
        (lambda path: (path.parent / "key").chmod(0o644), "others may read its key"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
def test_a_spoilt_file_is_no_token_and_a_sentence(
    vault: Vault, clock: ManualClock, tmp_path: Path, spoil: object, said: str
) -> None:
    vault.save(a_token(clock), KEYS)
    path = tmp_path / "etrade" / "simulator.token"
    spoil(path)  # type: ignore[operator]

    found, sentence = Vault(tmp_path / "etrade", file_key).load("simulator", KEYS)

    assert found is None
    assert said in sentence
    assert "Sign in again" in sentence


def test_a_changed_byte_anywhere_is_never_a_crash(vault: Vault, clock: ManualClock, tmp_path: Path) -> None:
    vault.save(a_token(clock), KEYS)
    path = tmp_path / "etrade" / "simulator.token"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x21
        path.write_bytes(bytes(spoilt))
        assert vault.load("simulator", KEYS)[0] is None


@pytest.mark.parametrize(
    "record",
    [[], {}, 7, None, {"version": 2}, {"version": 1, "environment": "simulator", "key": None}, "x"],
)
def test_a_foreign_content_is_no_token(vault: Vault, tmp_path: Path, record: object) -> None:
    folder = tmp_path / "etrade"
    sealed = Fernet(file_key(folder)).encrypt(json.dumps(record).encode())
    (folder / "simulator.token").write_bytes(sealed)

    found, sentence = vault.load("simulator", KEYS)

    assert found is None
    assert "of no use" in sentence


def test_a_token_of_another_environment_or_key_is_none(vault: Vault, clock: ManualClock, tmp_path: Path) -> None:
    vault.save(a_token(clock), KEYS)
    folder = tmp_path / "etrade"
    (folder / "production.token").write_bytes((folder / "simulator.token").read_bytes())

    assert "another environment" in vault.load("production", KEYS)[1]
    assert "another consumer key" in vault.load("simulator", Keys("other", "s"))[1]


def test_a_write_that_fails_leaves_the_old_token(
    vault: Vault, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = a_token(clock)
    vault.save(token, KEYS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vaults.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        vault.save(Token(Pair("new", "new"), "simulator", clock.now(), clock.now()), KEYS)

    monkeypatch.undo()
    assert vault.load("simulator", KEYS)[0] == token
    assert sorted(path.name for path in (tmp_path / "etrade").iterdir()) == ["key", "simulator.token"]


async def test_a_full_disk_does_not_stop_a_sign_in(
    server: Server, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(MemoryStore):
        def save(self, token: Token, keys: Keys) -> None:
            raise OSError(28, "No space left on device")

    client = make_client(server, Full(), Tempo(clock))
    with caplog.at_level(logging.ERROR):
        await client.access_token(await client.request_token(), CODE)

    assert client.sign_in().state is TokenState.LIVE
    assert "could not be kept" in caplog.text
    assert "CANARY" not in caplog.text
    await client.close()


def test_the_keyring_holds_the_key_where_one_works(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(vaults.keyring, "get_password", lambda service, entry: held.get((service, entry)))
    monkeypatch.setattr(vaults.keyring, "set_password", lambda s, entry, word: held.__setitem__((s, entry), word))
    token = a_token(clock)

    Vault(tmp_path / "etrade").save(token, KEYS)

    assert [path.name for path in (tmp_path / "etrade").iterdir()] == ["simulator.token"]
    assert Vault(tmp_path / "etrade").load("simulator", KEYS)[0] == token
    assert len(held) == 1
    held.clear()  # another machine: the file alone opens nothing
    assert Vault(tmp_path / "etrade").load("simulator", KEYS)[0] is None


def test_a_keyring_that_fails_or_hangs_is_none(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    def fails(*_: str) -> None:
        raise RuntimeError("no desktop here")

    monkeypatch.setattr(vaults.keyring, "get_password", fails)
    Vault(tmp_path / "one").save(a_token(clock), KEYS)
    assert (tmp_path / "one" / "key").exists()

    never = threading.Event()
    monkeypatch.setattr(vaults, "KEYRING_WAIT_S", 0.05)
    monkeypatch.setattr(vaults.keyring, "get_password", lambda *_: never.wait(5))
    Vault(tmp_path / "two").save(a_token(clock), KEYS)
    assert (tmp_path / "two" / "key").exists()
    never.set()


# Settings


def test_settings_hide_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONSUMER_KEY", "CONSUMER_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"):
        monkeypatch.setenv(f"ETRADE_{name}", " CANARY+/= ")
    monkeypatch.setenv("ETRADE_ACCOUNT_ID", "8401-9377")

    settings = load()

    assert settings.etrade_consumer_secret == "CANARY+/="
    assert settings.etrade_account_id == "84019377"
    assert "CANARY" not in repr(settings)
    assert "84019377" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ETRADE_ACCOUNT_ID", "1234567"), ("ETRADE_CONSUMER_KEY", "CAN ARY"), ("ETRADE_ENVIRONMENT", "live")],
)
def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name) as caught:
        load()
    assert value not in str(caught.value)


def test_e_trade_is_off_by_default() -> None:
    assert Settings().etrade_environment == "off"
