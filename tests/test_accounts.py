"""desk/accounts.py: who comes in, who stays in, and who is turned away."""

from __future__ import annotations

import contextlib
import os
import pty
import runpy
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa

from desk import accounts_line
from desk.account_tables import events
from desk.accounts import DOES_NOT_FIT, Accounts
from desk.authority import LOCAL_OWNER, Role
from desk.passwords import Passwords, check, cost_of
from domain.clock import ManualClock
from domain.errors import AccountError, LedgerError, LockedOut, SettingsError, WrongSignIn
from tests.accounts import OTHER, PASSWORD, QuickPasswords, accounts_in, with_people

HOME = "127.0.0.1"


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock) -> Accounts:
    return with_people(tmp_path, clock)


def wrong(accounts: Accounts, name: str, address: str = HOME, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(WrongSignIn, match=DOES_NOT_FIT):
            accounts.sign_in(name, "not the password", address)


# People


def test_a_desk_begins_without_accounts_and_without_a_password(tmp_path: Path) -> None:
    accounts = accounts_in(tmp_path)

    assert (accounts.any(), accounts.all()) == (False, [])
    wrong(accounts, "owner")
    wrong(accounts, "admin")


def test_nothing_in_the_file_opens_anything(accounts: Accounts, tmp_path: Path) -> None:
    secret = accounts.sign_in("olga", PASSWORD, HOME)
    seed = accounts.enrol(secret, PASSWORD).secret
    with pytest.raises(WrongSignIn):
        accounts.sign_in(PASSWORD, "olga", HOME)  # typed into the wrong field

    kept = b"".join(path.read_bytes() for path in tmp_path.glob("accounts.db*"))

    for told in (PASSWORD, secret, seed):
        assert told.encode() not in kept
    assert stat.S_IMODE((tmp_path / "accounts.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", "at least 12 characters"),
        ("aaaaaaaaaaaaaaaa", "among the first"),
        ("abcdefghijklmnop", "among the first"),
        ("Passwordpassword!", "among the first"),
        ("123456789012345", "among the first"),
        ("qwertyuiopasdf", "among the first"),
        ("olga likes cats 77", "the name it belongs to"),
        ("ä" * 37 + "bcdefgh", "at most 72 bytes"),
        ("tab\tand more of it", "printable"),
    ],
)
def test_a_weak_password_is_refused_with_the_rule(accounts: Accounts, password: str, said: str) -> None:
    with pytest.raises(AccountError, match=said):
        accounts.set_password("olga", password, by="console")
    assert accounts.who(accounts.sign_in("olga", PASSWORD, HOME)) is not None


@pytest.mark.parametrize("password", [PASSWORD, "correct Horse 9 battery", "żółw na 4 kołach"])
def test_a_good_password_is_taken(password: str) -> None:
    check(password, "olga")


@pytest.mark.parametrize("name", ["owner", "engine", "a", "Two words", "x/y", "../etc", "7up", "é", ""])
def test_a_name_that_would_confuse_the_books_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError):
        accounts.add(name, PASSWORD, Role.OWNER, by="console")


def test_the_last_owner_stays(accounts: Accounts) -> None:
    for change in (accounts.suspend, accounts.remove, lambda name, by: accounts.set_role(name, Role.TRADER, by=by)):
        with pytest.raises(AccountError, match="olga is the only owner in use"):
            change("olga", by="olga")
    accounts.add("otto", PASSWORD, Role.OWNER, by="olga")

    accounts.remove("olga", by="otto")

    assert [account.name for account in accounts.all()] == ["otto", "tim", "vera"]


# Coming in


def test_the_right_password_signs_in_and_any_case_of_the_name(accounts: Accounts) -> None:
    signed = accounts.who(accounts.sign_in(" Olga ", PASSWORD, HOME))

    assert signed is not None
    assert (signed.name, signed.role, signed.idle, signed.address) == ("olga", Role.OWNER, False, HOME)


def test_each_sign_in_has_a_secret_and_a_reference_of_its_own(accounts: Accounts) -> None:
    one, two = (accounts.sign_in("olga", PASSWORD, HOME) for _ in range(2))

    first, second = accounts.who(one), accounts.who(two)
    assert first is not None
    assert second is not None
    assert len({one, two, first.ref, second.ref}) == 4
    assert len(one) == 43  # 256 bits
    assert first.ref not in one
    assert accounts.who(first.ref) is None


def test_signing_in_again_ends_what_the_browser_held(accounts: Accounts) -> None:
    before = accounts.sign_in("tim", PASSWORD, HOME)

    after = accounts.sign_in("olga", PASSWORD, HOME, replacing=before)

    assert accounts.who(before) is None
    assert accounts.who(after) is not None


def test_an_unknown_name_costs_the_same_work_and_gets_the_same_words(tmp_path: Path, clock: ManualClock) -> None:
    with_people(tmp_path, clock).suspend("vera", by="olga")
    passwords = QuickPasswords()
    accounts = accounts_in(tmp_path, clock, passwords)

    for name in ("olga", "nobody-here", "vera", "\udcff", "x" * 5000):
        wrong(accounts, name)
        with pytest.raises(WrongSignIn):
            accounts.sign_in(name, "ä" * 60, "elsewhere")  # past 72 bytes

    assert passwords.costs == [4] * 10


def test_the_decoy_costs_as_much_as_the_dearest_account(tmp_path: Path) -> None:
    hash_ = "$2b$05$" + "." * 53
    put_secrets(tmp_path, f'[credentials.usernames.ada]\npassword = "{hash_}"\n')
    passwords = QuickPasswords()

    wrong(accounts_in(tmp_path, passwords=passwords), "nobody-here")

    assert passwords.costs == [5]


def test_who_has_a_cheaper_hash_than_somebody_else_costs_as_much_as_nobody(tmp_path: Path) -> None:
    hash_ = "$2b$07$" + "." * 53
    put_secrets(tmp_path, f'[credentials.usernames.ada]\npassword = "{hash_}"\n')
    passwords = QuickPasswords()
    accounts = accounts_in(tmp_path, passwords=passwords)
    accounts.add("olga", PASSWORD, Role.OWNER, by="console")

    work = {}
    for name in ("nobody-here", "ada", "olga"):
        passwords.costs.clear()
        wrong(accounts, name)
        work[name] = sum(2**cost for cost in passwords.costs)

    assert set(work.values()) == {2**7}


def test_production_works_at_cost_twelve_for_nobody_too() -> None:
    assert (Passwords.least_cost, cost_of(Passwords().decoy(0)), cost_of(Passwords().decoy(13))) == (12, 12, 13)


# Lockouts


def test_the_sixth_wrong_password_is_locked_also_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    wrong(with_people(tmp_path, clock), "olga", times=5)

    again = accounts_in(tmp_path, clock)

    with pytest.raises(LockedOut) as locked:
        again.sign_in("olga", PASSWORD, HOME)  # not even the right one
    assert (locked.value.until - clock.now()).total_seconds() == 60


def test_a_locked_attempt_costs_no_bcrypt(tmp_path: Path, clock: ManualClock) -> None:
    wrong(with_people(tmp_path, clock), "olga", times=5)
    passwords = QuickPasswords()

    with pytest.raises(LockedOut):
        accounts_in(tmp_path, clock, passwords).sign_in("olga", PASSWORD, HOME)

    assert passwords.costs == []


def test_each_further_wrong_one_waits_longer_up_to_an_hour(accounts: Accounts, clock: ManualClock) -> None:
    wrong(accounts, "olga", times=5)
    waits = []
    for _ in range(8):
        with pytest.raises(LockedOut) as locked:
            accounts.sign_in("olga", PASSWORD, HOME)
        wait = (locked.value.until - clock.now()).total_seconds()
        waits.append(wait)
        clock.advance(seconds=wait)
        wrong(accounts, "olga")

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_the_right_password_after_the_wait_starts_anew(accounts: Accounts, clock: ManualClock) -> None:
    wrong(accounts, "olga", times=5)
    clock.advance(seconds=60)
    accounts.sign_in("olga", PASSWORD, HOME)

    wrong(accounts, "olga", times=5)


def test_an_unknown_name_is_locked_like_a_known_one(accounts: Accounts) -> None:
    wrong(accounts, "nobody-here", times=5)

    with pytest.raises(LockedOut):
        accounts.sign_in("nobody-here", PASSWORD, HOME)


def test_a_neighbour_does_not_lock_the_owner_out(accounts: Accounts) -> None:
    wrong(accounts, "olga", "192.0.2.7", times=5)

    assert accounts.sign_in("olga", PASSWORD, HOME)


def test_an_address_that_guesses_at_many_names_is_locked(accounts: Accounts) -> None:
    for number in range(20):
        wrong(accounts, f"name{number}", "192.0.2.7")

    with pytest.raises(LockedOut):
        accounts.sign_in("tim", PASSWORD, "192.0.2.7")
    assert accounts.sign_in("tim", PASSWORD, HOME)


def test_an_account_of_ones_own_is_no_way_to_go_on_guessing(accounts: Accounts) -> None:
    for number in range(19):
        wrong(accounts, f"name{number}", "192.0.2.7")
    accounts.sign_in("vera", PASSWORD, "192.0.2.7")
    wrong(accounts, "name19", "192.0.2.7")

    with pytest.raises(LockedOut):
        accounts.sign_in("vera", PASSWORD, "192.0.2.7")


def test_a_name_guessed_at_from_everywhere_is_locked(accounts: Accounts) -> None:
    for number in range(25):
        wrong(accounts, "olga", f"192.0.2.{number}")

    with pytest.raises(LockedOut):
        accounts.sign_in("olga", PASSWORD, HOME)


def test_nobody_locks_an_address_that_is_not_theirs(accounts: Accounts) -> None:
    for number in range(30):
        with contextlib.suppress(WrongSignIn, LockedOut):
            accounts.sign_in(f"|{HOME}", "a wrong one", f"192.0.2.{number}")

    assert accounts.sign_in("olga", PASSWORD, HOME)


def test_a_whole_ipv6_network_is_one_address(accounts: Accounts) -> None:
    for number in range(5):
        wrong(accounts, "olga", f"2001:db8:1:2::{number}")

    with pytest.raises(LockedOut):
        accounts.sign_in("olga", PASSWORD, "2001:db8:1:2:ffff::1")
    assert accounts.sign_in("olga", PASSWORD, "2001:db8:1:3::1")


def test_who_goes_on_knocking_at_a_lock_fills_no_disk(accounts: Accounts, clock: ManualClock) -> None:
    wrong(accounts, "olga", times=5)
    for _ in range(2):
        for _ in range(10):
            with pytest.raises(LockedOut):
                accounts.sign_in("olga", PASSWORD, HOME)
        clock.advance(seconds=3600)
        wrong(accounts, "olga")

    assert [one.event for one in accounts.events()].count("locked") == 2


def test_many_at_once_are_no_way_around_the_count(accounts: Accounts) -> None:
    def guess(number: int) -> str:
        try:
            accounts.sign_in("olga", f"guess number {number}", HOME)
        except LockedOut:
            return "locked"
        except WrongSignIn:
            return "wrong"
        return "in"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guess, range(24)))

    assert (answers.count("wrong"), answers.count("locked")) == (5, 19)


# Staying in


def test_looking_is_no_activity_and_idleness_takes_the_trade_and_not_the_view(
    accounts: Accounts, clock: ManualClock
) -> None:
    secret = accounts.sign_in("tim", PASSWORD, HOME)
    for _ in range(15):
        clock.advance(minutes=1)
        signed = accounts.who(secret)

    assert signed is not None
    assert signed.idle
    woken = accounts.active(secret)  # a press does not wake it either
    assert woken is not None
    assert woken.idle


def test_a_press_keeps_it_awake(accounts: Accounts, clock: ManualClock) -> None:
    secret = accounts.sign_in("tim", PASSWORD, HOME)
    for _ in range(4):
        clock.advance(minutes=14)
        accounts.active(secret)

    signed = accounts.who(secret)

    assert signed is not None
    assert not signed.idle


def test_after_twelve_hours_it_is_over_however_busy(accounts: Accounts, clock: ManualClock) -> None:
    secret = accounts.sign_in("tim", PASSWORD, HOME)
    for _ in range(71):
        clock.advance(minutes=10)
        accounts.active(secret)
    assert accounts.who(secret) is not None

    clock.advance(minutes=10)

    assert accounts.who(secret) is None
    assert accounts.active(secret) is None


def test_signed_out_is_over_for_whoever_copied_the_cookie(accounts: Accounts, tmp_path: Path) -> None:
    secret = accounts.sign_in("tim", PASSWORD, HOME)
    elsewhere = accounts_in(tmp_path, accounts._clock)
    assert elsewhere.who(secret) is not None

    accounts.sign_out(secret)

    assert elsewhere.who(secret) is None


def test_one_is_revoked_or_all_at_once(accounts: Accounts) -> None:
    one, two, other = (accounts.sign_in(name, PASSWORD, HOME) for name in ("tim", "tim", "vera"))
    signed = accounts.who(one)
    assert signed is not None

    accounts.revoke(signed.ref, by="olga")
    assert [accounts.who(secret) is not None for secret in (one, two, other)] == [False, True, True]

    accounts.revoke_all("tim", by="olga")
    assert [accounts.who(secret) is not None for secret in (two, other)] == [False, True]

    accounts.revoke_all(by="olga")
    assert accounts.sign_ins() == []


def test_a_new_password_ends_every_other_sign_in(accounts: Accounts) -> None:
    mine, stolen = (accounts.sign_in("tim", PASSWORD, HOME) for _ in range(2))

    new = accounts.change_password(mine, PASSWORD, OTHER, HOME)

    assert [accounts.who(secret) is not None for secret in (mine, stolen, new)] == [False, False, True]
    with pytest.raises(WrongSignIn):
        accounts.sign_in("tim", PASSWORD, HOME)


def test_another_role_wants_a_new_sign_in(accounts: Accounts) -> None:
    before = accounts.sign_in("tim", PASSWORD, HOME)

    accounts.set_role("tim", Role.OWNER, by="olga")

    assert accounts.who(before) is None
    after = accounts.who(accounts.sign_in("tim", PASSWORD, HOME))
    assert after is not None
    assert after.role is Role.OWNER


def test_a_sign_in_that_was_under_way_at_a_suspension_does_not_wake_up_later(tmp_path: Path) -> None:
    accounts = with_people(tmp_path)

    class Slow(QuickPasswords):
        def fits(self, password: str, hash_: str) -> bool:
            accounts.suspend("tim", by="olga")
            return super().fits(password, hash_)

    with pytest.raises(WrongSignIn):
        accounts_in(tmp_path, passwords=Slow()).sign_in("tim", PASSWORD, HOME)
    accounts.restore("tim", by="olga")

    assert accounts.sign_ins("tim") == []


def test_two_who_would_be_the_first_owner_make_one(tmp_path: Path) -> None:
    class Meets(QuickPasswords):
        def _hash(self, password: str) -> str:
            if not accounts_in(tmp_path).any():
                accounts_in(tmp_path).add("olga", PASSWORD, Role.OWNER, by="owner", first=True)
            return super()._hash(password)

    with pytest.raises(AccountError, match="has an owner already"):
        accounts_in(tmp_path, passwords=Meets()).add("mallory", PASSWORD, Role.OWNER, by="owner", first=True)
    assert [one.name for one in accounts_in(tmp_path).all()] == ["olga"]


def test_looking_waits_for_no_writer(accounts: Accounts, tmp_path: Path) -> None:
    """Neither a page nor the engine, which asks in its turn: it must not leave a stop unwatched."""
    secret = accounts.sign_in("olga", PASSWORD, HOME)
    signed = accounts.who(secret)
    assert signed is not None
    with sqlite3.connect(tmp_path / "accounts.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        found = accounts.who(secret), accounts.of_actor(signed.actor), accounts.role_of("olga"), accounts.any()
        writer.execute("ROLLBACK")

    assert found == (signed, signed, Role.OWNER, True)


def test_who_stands_in_the_file_too_is_taken_out_there_first(accounts: Accounts, tmp_path: Path) -> None:
    """Without the account of the database that of the file would open."""
    put_secrets(tmp_path, f'[credentials.usernames.tim]\npassword = "$2b$05${"." * 53}"\nroles = ["owner"]\n')

    with pytest.raises(AccountError, match=r"stands in secrets\.toml too"):
        accounts.remove("tim", by="olga")
    assert accounts.role_of("tim") is Role.TRADER


def test_a_backup_that_is_put_back_is_read_and_written(accounts: Accounts, tmp_path: Path) -> None:
    """Else who is suspended from then on would be so in a file that nobody looks at."""
    accounts.sign_in("tim", PASSWORD, HOME)
    with sqlite3.connect(tmp_path / "accounts.db") as there:
        there.execute(f"VACUUM INTO '{tmp_path / 'backup.db'}'")
    (tmp_path / "backup.db").replace(tmp_path / "accounts.db")
    for end in ("-wal", "-shm"):
        (tmp_path / f"accounts.db{end}").unlink(missing_ok=True)
    assert [one.name for one in accounts.sign_ins()] == ["tim"]

    accounts.suspend("tim", by="olga")

    assert accounts.sign_ins() == []


def test_who_is_suspended_is_out_at_once_and_stays_out(accounts: Accounts) -> None:
    secret = accounts.sign_in("tim", PASSWORD, HOME)
    accounts.suspend("tim", by="olga")

    assert accounts.who(secret) is None
    wrong(accounts, "tim")
    with pytest.raises(WrongSignIn):
        accounts.sign_in("tim", PASSWORD, HOME)


@pytest.mark.parametrize("secret", ["", "guess", "\udcff", "' or 1=1 --", "x" * 100_000])
def test_a_secret_that_nobody_was_given_is_nobody(accounts: Accounts, secret: str) -> None:
    accounts.sign_in("olga", PASSWORD, HOME)

    assert accounts.who(secret) is None


# One-time codes


def code_of(seed: str, clock: ManualClock) -> str:
    return pyotp.TOTP(seed).at(clock.now())


def enrolled(accounts: Accounts, clock: ManualClock) -> tuple[str, str]:
    secret = accounts.sign_in("olga", PASSWORD, HOME)
    seed = accounts.enrol(secret, PASSWORD, HOME).secret
    accounts.confirm(secret, code_of(seed, clock), HOME)
    clock.advance(seconds=30)
    return secret, seed


def test_a_code_is_good_once(accounts: Accounts, clock: ManualClock) -> None:
    secret, seed = enrolled(accounts, clock)
    code = code_of(seed, clock)
    accounts.confirm(secret, code, HOME)

    with pytest.raises(WrongSignIn, match="used before"):
        accounts.confirm(secret, code, HOME)
    clock.advance(seconds=30)
    accounts.confirm(secret, code_of(seed, clock), HOME)
    with pytest.raises(WrongSignIn):  # the one before is over too
        accounts.confirm(secret, pyotp.TOTP(seed).at(clock.now(), counter_offset=-1), HOME)


def test_two_that_give_the_same_code_at_once_get_one_confirmation(accounts: Accounts, clock: ManualClock) -> None:
    secret, seed = enrolled(accounts, clock)
    code = code_of(seed, clock)

    def give(_: int) -> bool:
        try:
            return bool(accounts.confirm(secret, code, HOME))
        except WrongSignIn:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(give, range(4))) == 1


def test_a_confirmation_is_good_once_and_for_two_minutes(accounts: Accounts, clock: ManualClock) -> None:
    secret, seed = enrolled(accounts, clock)
    actor = accounts.confirm(secret, code_of(seed, clock), HOME).actor
    assert [accounts.take_confirmation(actor) for _ in range(2)] == [True, False]

    clock.advance(seconds=30)
    accounts.confirm(secret, code_of(seed, clock), HOME)
    clock.advance(seconds=121)

    assert not accounts.take_confirmation(actor)


def test_five_wrong_codes_lock_the_sixth(accounts: Accounts, clock: ManualClock) -> None:
    secret, seed = enrolled(accounts, clock)
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            accounts.confirm(secret, "000000", HOME)

    with pytest.raises(LockedOut):
        accounts.confirm(secret, code_of(seed, clock), HOME)


def test_codes_are_not_replaced_by_who_merely_holds_the_cookie(accounts: Accounts, clock: ManualClock) -> None:
    secret, _ = enrolled(accounts, clock)

    with pytest.raises(WrongSignIn):
        accounts.enrol(secret, "not the password", HOME)
    with pytest.raises(AccountError, match="has one-time codes already"):
        accounts.enrol(secret, PASSWORD, HOME)


def test_a_secret_moved_to_another_name_counts_for_nobody(accounts: Accounts, clock: ManualClock) -> None:
    _, seed = enrolled(accounts, clock)
    with accounts._database.write() as db:
        db.execute(sa.text("UPDATE codes SET name = 'tim'"))
    secret = accounts.sign_in("tim", PASSWORD, HOME)

    with pytest.raises(AccountError, match="another machine's key"):
        accounts.confirm(secret, code_of(seed, clock), HOME)


def test_the_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B: SHA-1, the eight digits' last six."""
    totp = pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")

    assert [totp.at(at) for at in (59, 1111111109, 20000000000)] == ["287082", "081804", "353130"]


# secrets.toml


def put_secrets(folder: Path, text: str, mode: int = 0o600) -> None:
    path = folder / "secrets.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def ada(password: str = "", roles: str = "") -> str:
    hash_ = QuickPasswords().hashed(password or PASSWORD)
    text = f'[credentials.usernames.Ada]\nfirst_name = "Ada"\npassword = "{hash_}"\n'
    return text + (f"roles = {roles}\n" if roles else "")


def test_the_librarys_own_file_is_a_second_source(tmp_path: Path) -> None:
    put_secrets(tmp_path, ada(roles='["viewer", "trader"]'))
    accounts = accounts_in(tmp_path)

    signed = accounts.who(accounts.sign_in("ada", PASSWORD, HOME))

    assert accounts.any()
    assert signed is not None
    assert signed.role is Role.TRADER
    with pytest.raises(AccountError, match=r"ada is written in secrets\.toml: change it there"):
        accounts.set_role("ada", Role.OWNER, by="console")


def test_without_a_role_the_file_makes_a_viewer(tmp_path: Path) -> None:
    put_secrets(tmp_path, ada())

    assert accounts_in(tmp_path).all()[0].role is Role.VIEWER


def test_a_line_taken_out_of_the_file_is_over_at_once(tmp_path: Path) -> None:
    put_secrets(tmp_path, ada())
    accounts = accounts_in(tmp_path)
    secret = accounts.sign_in("ada", PASSWORD, HOME)
    put_secrets(tmp_path, ada(OTHER) + "\n# another password")
    assert accounts.who(secret) is None

    secret = accounts.sign_in("ada", OTHER, HOME)
    put_secrets(tmp_path, "")

    assert accounts.who(secret) is None


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ('[credentials.usernames.ada]\npassword = "in the clear"\n', 0o600, "no bcrypt hash.*desk.accounts hash"),
        (f'[credentials.usernames.ada]\npassword = "$2b$03${"." * 53}"\n', 0o600, "bcrypt cost 3 is not 4 to 15"),
        (ada(roles='["king"]'), 0o600, "roles are viewer, trader, owner"),
        (ada(), 0o644, "others may read the accounts in it; chmod 600"),
        ("[credentials", 0o600, "is not TOML"),
        ('[credentials.usernames.owner]\npassword = "x"\n', 0o600, "a word of the desk itself"),
    ],
)
def test_a_file_that_is_wrong_lets_nobody_in(tmp_path: Path, text: str, mode: int, said: str) -> None:
    accounts = with_people(tmp_path)
    secret = accounts.sign_in("olga", PASSWORD, HOME)
    put_secrets(tmp_path, text, mode)

    with pytest.raises(SettingsError, match=said):
        accounts.all()
    with pytest.raises(SettingsError):
        accounts.who(secret)


# What is written down


def test_what_happened_is_kept_and_cannot_be_unsaid(accounts: Accounts, tmp_path: Path) -> None:
    wrong(accounts, "olga")
    with pytest.raises(WrongSignIn):
        accounts.sign_in(PASSWORD, "olga", HOME)
    secret = accounts.sign_in("olga", PASSWORD, HOME)
    accounts.suspend("vera", by="olga")
    accounts.sign_out(secret)

    told = [(line.event, line.name, line.by) for line in accounts.events(5)]
    assert told == [
        ("signed out", "olga", "olga"),
        ("suspended", "vera", "olga"),
        ("signed in", "olga", "olga"),
        ("refused", "(unknown)", "(unknown)"),
        ("refused", "olga", "olga"),
    ]
    with pytest.raises(LedgerError, match="only ever added to"), accounts._database.write() as db:
        db.execute(sa.delete(events))
    with pytest.raises(sqlite3.IntegrityError), sqlite3.connect(tmp_path / "accounts.db") as raw:
        raw.execute("UPDATE events SET name = 'tim'")


# The command line


def line(*arguments: str, typed: str = "", password: str = PASSWORD) -> int:
    return accounts_line.main(
        list(arguments), ask=lambda _: typed, ask_secret=lambda _: password, passwords=QuickPasswords()
    )


def test_the_command_line_manages_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert line("owner", typed="olga") == 0
    assert line("owner", "olga") == 2
    assert line("add", "tim", "trader") == 0
    assert line("add", "eve", "trader", password="short") == 2
    assert line("role", "tim", "viewer") == 0
    assert line("role", "olga", "viewer") == 2
    assert line("suspend", "tim") == 0
    assert line("remove", "nobody") == 2
    capsys.readouterr()

    assert line("list") == 0

    assert capsys.readouterr().out.split("\n")[:2] == [f"{'olga':20} owner", f"{'tim':20} viewer, suspended"]


def test_the_command_line_signs_in_where_there_are_accounts(tmp_path: Path, accounts: Accounts) -> None:
    bare = accounts_in(tmp_path / "bare")
    assert accounts_line.actor_here(bare, ask=input) == LOCAL_OWNER

    actor = accounts_line.actor_here(accounts, ask=lambda _: "tim", ask_secret=lambda _: PASSWORD)

    signed = accounts.of_actor(actor)
    assert signed is not None
    assert (signed.name, signed.address) == ("tim", "console")
    with pytest.raises(WrongSignIn):
        accounts_line.actor_here(accounts, ask=lambda _: "tim", ask_secret=lambda _: "not the password")


def test_make_owner_reads_the_password_from_the_terminal(tmp_path: Path) -> None:
    """A terminal of its own, as a person has one: the real command, the real hash, nothing echoed."""
    pid, terminal = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.environ["DATA_DIR"] = str(tmp_path)
            sys.stdout = os.fdopen(1, "w")
            sys.argv = ["accounts", "owner", "olga"]
            runpy.run_module("desk.accounts", run_name="__main__", alter_sys=True)
        sys.stdout.flush()
        os._exit(0)
    said = b""
    for asked in (b"not shown): ", b"again: "):
        while asked not in said:
            said += os.read(terminal, 4096)
        os.write(terminal, PASSWORD.encode() + b"\n")
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:
            break
    _, status = os.waitpid(pid, 0)

    accounts = accounts_in(tmp_path)
    assert os.waitstatus_to_exitcode(status) == 0
    assert PASSWORD.encode() not in said
    assert b"olga is owner of this desk" in said
    assert [(a.name, a.role, cost_of(a.hash)) for a in accounts.all()] == [("olga", Role.OWNER, 12)]
    assert accounts.sign_in("olga", PASSWORD, HOME)
