"""kept_keys.py, desk/keys.py and how settings.py lays them under the environment and `.env`."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

import kept_keys
import settings as settings_file
from desk import keys, logs
from domain.errors import SettingsError, UnknownName
from etrade import vault
from etrade.vault import file_key
from kept_keys import GROUPS, KEEPABLE, KeptKeys, kept_in
from settings import Settings, load

SECRET = "canary-7f3a91bc55d0"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose key lies in a file, whatever keyring this machine has."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    file_key(tmp_path / "data" / "keys")
    kept_keys.kept_in.cache_clear()
    return tmp_path / "data"


def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = tmp_path / ".env"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setitem(Settings.model_config, "env_file", str(path))
    return path


def anew(data: Path) -> KeptKeys:
    """Another program's look at the same file."""
    return KeptKeys(data / "keys")


# Kept


def test_what_is_typed_is_kept_encrypted_and_for_its_owner_only(data: Path) -> None:
    keys.keep("email", {"smtp_server": "mail.example.com", "smtp_pass": SECRET, "smtp_user": ""})

    assert anew(data).read() == {"smtp_server": "mail.example.com", "smtp_pass": SECRET}
    assert (load().smtp_server, load().smtp_pass) == ("mail.example.com", SECRET)
    for file in (data / "keys").iterdir():
        assert SECRET.encode() not in file.read_bytes()
        if file.name != "kept.lock":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET not in logs.clean(f"somebody logs {SECRET}")


def test_what_was_set_aside_once_stays_when_another_is(data: Path) -> None:
    for text in (b"locked with a keyring that sleeps", b"scribble"):
        (data / "keys" / "kept.sealed").write_bytes(text)
        keys.begin_anew()

    kept = sorted((data / "keys").glob("kept.unreadable*"))
    assert [file.read_bytes() for file in kept] == [b"locked with a keyring that sleeps", b"scribble"]


def test_one_that_is_forgotten_is_gone_and_the_others_stay(data: Path) -> None:
    keys.keep("webhook", {"webhook_url": "https://example.com/in", "webhook_secret": SECRET})

    keys.forget("webhook_secret")
    keys.forget("slack_bot_token")

    assert anew(data).read() == {"webhook_url": "https://example.com/in"}
    assert load().webhook_secret == ""


def test_two_who_type_at_once_both_keep_theirs(data: Path) -> None:
    names = ["smtp_user", "slack_channel", "etrade_consumer_key", "webhook_secret", "twilio_auth_token"]
    writers = [
        threading.Thread(target=lambda name=name: anew(data).change({name: f"value-{name}"}, lambda _: None))
        for name in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert anew(data).read() == {name: f"value-{name}" for name in names}


@pytest.mark.parametrize(
    ("group", "typed", "said"),
    [
        ("email", {"smtp_user": "ada", "email_to": "ada at home"}, "EMAIL_TO: an email address looks like"),
        ("email", {"smtp_port": "99999"}, "SMTP_PORT: Input should be less than or equal to 65535"),
        ("email", {"smtp_server": "mail.example.com", "smtp_security": "none"}, "SMTP_SECURITY=none is for a mail"),
        ("etrade", {"etrade_consumer_key": "ab cd"}, "ETRADE_CONSUMER_KEY: .* without spaces: copy it again"),
        ("etrade", {"etrade_environment": "real"}, "ETRADE_ENVIRONMENT: .*'off', 'sandbox'"),
        ("etrade", {"etrade_account_id": "123"}, "ETRADE_ACCOUNT_ID: an E.TRADE account number has 8 digits"),
        ("slack", {"slack_webhook_url": "http://hooks.slack.com/x"}, "SLACK_WEBHOOK_URL: it must be an https://"),
        ("sms", {"sms_to": "555 0123"}, "SMS_TO: a phone number starts with"),
        ("etrade", {"trading": "etrade"}, "TRADING cannot be kept here: write it into .env"),
        ("email", {"slack_channel": "#desk"}, "SLACK_CHANNEL cannot be kept here"),
    ],
)
def test_a_wrong_one_is_named_and_nothing_is_changed(data: Path, group: str, typed: dict[str, str], said: str) -> None:
    keys.keep("webhook", {"webhook_secret": SECRET})

    with pytest.raises(SettingsError, match=said):
        keys.keep(group, typed)

    assert anew(data).read() == {"webhook_secret": SECRET}


def test_every_group_is_of_settings_that_may_be_kept_and_trading_is_not() -> None:
    assert set(KEEPABLE) <= set(Settings.model_fields)
    assert set(KEEPABLE) <= set(keys.LABELS)
    assert "trading" not in KEEPABLE
    assert set(GROUPS) == {"etrade", "email", "sms", "whatsapp", "slack", "webhook"}
    with pytest.raises(UnknownName, match="Did you mean 'slack'"):
        keys.names_of("slak")


# Under the environment and .env


def test_the_environment_wins_over_the_file_and_the_file_over_what_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.keep("email", {"smtp_user": "kept", "smtp_server": "kept.example.com", "email_to": "kept@example.com"})
    env_file(tmp_path, monkeypatch, "SMTP_USER=file\nSMTP_SERVER=file.example.com\nEMAIL_TO=\nSMTP_PORT=\n")
    monkeypatch.setenv("SMTP_USER", "outside")

    found = load()

    assert (found.smtp_user, found.smtp_server, found.email_to) == (
        "outside",
        "file.example.com",
        ("kept@example.com",),
    )
    assert settings_file.said()["smtp_user"] == "the environment"
    assert settings_file.said()["smtp_server"] == ".env"
    assert not {"email_to", "smtp_port"} & set(settings_file.said())
    assert load(smtp_user="told").smtp_user == "told"


def test_the_example_copied_as_it_is_leaves_every_key_to_the_page(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (Path(settings_file.__file__).parent / ".env.example").read_text(encoding="utf-8")
    env_file(tmp_path, monkeypatch, example)

    assert not set(KEEPABLE) & set(settings_file.said())


def test_what_env_says_cannot_be_changed_on_a_page(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file(tmp_path, monkeypatch, "ETRADE_ENVIRONMENT=off\n")

    with pytest.raises(SettingsError, match=r"ETRADE_ENVIRONMENT is set by \.env, which wins: change it there"):
        keys.keep("etrade", {"etrade_environment": "production", "etrade_consumer_key": SECRET})

    assert anew(data).read() == {}
    [environment, *_] = keys.shown("etrade")
    assert (environment.value, environment.source, environment.can_be_typed) == ("off", ".env", False)


def test_kept_ones_that_no_longer_fit_are_left_out_and_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.keep("email", {"smtp_server": "127.0.0.1", "smtp_security": "none", "smtp_user": "ada"})
    env_file(tmp_path, monkeypatch, "SMTP_SERVER=mail.example.com\n")

    assert (load().smtp_server, load().smtp_user, load().smtp_security) == ("mail.example.com", "", "auto")
    assert "SMTP_SECURITY=none is for a mail server on this machine" in settings_file.kept_problem()


def test_a_change_by_another_program_is_seen_and_nothing_is_opened_twice(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    whole = KeptKeys._opened
    monkeypatch.setattr(KeptKeys, "_opened", lambda self: opened.append(self._path) or whole(self))
    keys.keep("slack", {"slack_channel": "#one"})
    assert [load().slack_channel for _ in range(5)] == ["#one"] * 5
    assert len(opened) == 1

    anew(data).change({"slack_channel": "#two"}, lambda _: None)
    opened.clear()

    assert [load().slack_channel for _ in range(5)] == ["#two"] * 5
    assert len(opened) == 1


# Unreadable


@pytest.mark.parametrize("broken", ["flipped", "cut", "empty", "another key"])
def test_a_file_that_cannot_be_opened_is_said_and_never_written_over(data: Path, broken: str) -> None:
    keys.keep("webhook", {"webhook_secret": SECRET})
    file, key = data / "keys" / "kept.sealed", data / "keys" / "key"
    sealed = file.read_bytes()
    if broken == "another key":
        key.unlink()
        file_key(data / "keys")
    else:
        flipped = sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:]
        file.write_bytes({"flipped": flipped, "cut": sealed[:60], "empty": b""}[broken])
    kept_keys.kept_in.cache_clear()
    found = file.read_bytes()

    assert load().webhook_secret == ""
    assert "damaged, or was locked with another machine's key" in settings_file.kept_problem()
    with pytest.raises(SettingsError, match="are of no use"):
        keys.keep("slack", {"slack_channel": "#desk"})
    assert file.read_bytes() == found

    aside = keys.begin_anew()
    assert Path(aside).read_bytes() == found
    keys.keep("slack", {"slack_channel": "#desk"})
    assert (load().slack_channel, settings_file.kept_problem()) == ("#desk", "")


def test_a_key_that_others_can_read_opens_nothing(data: Path) -> None:
    keys.keep("webhook", {"webhook_secret": SECRET})
    (data / "keys" / "key").chmod(0o644)
    kept_keys.kept_in.cache_clear()

    assert load().webhook_secret == ""
    assert "others may read its key" in settings_file.kept_problem()


def test_a_keyring_that_is_silent_costs_nothing_that_was_kept(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that starts before its owner unlocks the keyring must not begin another key beside it."""
    (data / "keys" / "key").unlink()
    rings: list[bytes | None] = [file_key(data / "other")]
    monkeypatch.setattr(vault, "keyring_key", lambda: rings[-1])
    keys.keep("webhook", {"webhook_secret": SECRET})
    assert not (data / "keys" / "key").exists()

    rings.append(None)
    kept_in.cache_clear()
    assert load().webhook_secret == ""
    assert "keyring of this machine, which does not answer" in settings_file.kept_problem()
    with pytest.raises(SettingsError):
        keys.keep("slack", {"slack_channel": "#desk"})
    assert not (data / "keys" / "key").exists()

    rings.pop()
    monkeypatch.setattr(kept_keys, "LOOK_AGAIN_S", 0.0)
    kept_in.cache_clear()
    assert load().webhook_secret == SECRET


def test_a_folder_that_cannot_be_written_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    keys.keep("webhook", {"webhook_secret": SECRET})
    monkeypatch.setattr(vault, "replace_whole", full)

    with pytest.raises(SettingsError, match="nothing was kept: No space left on device"):
        keys.keep("slack", {"slack_channel": "#desk"})

    assert anew(data).read() == {"webhook_secret": SECRET}


# Shown


def test_of_a_secret_the_end_is_shown_and_of_a_short_one_nothing(data: Path) -> None:
    keys.keep("email", {"smtp_pass": "1234567", "smtp_user": "ada@example.com"})
    keys.keep("etrade", {"etrade_consumer_key": "abcdefgh4F2A", "etrade_account_id": "12345678"})

    email = {row.name: row for row in keys.shown("email")}
    etrade = {row.name: row for row in keys.shown("etrade")}

    assert (email["smtp_pass"].value, email["smtp_user"].value) == ("…", "ada@example.com")
    assert (etrade["etrade_consumer_key"].value, etrade["etrade_account_id"].value) == ("…4F2A", "…5678")
    assert (etrade["etrade_consumer_secret"].value, etrade["etrade_consumer_secret"].source) == ("", "")
    assert etrade["etrade_environment"].choices == ("off", "sandbox", "production", "simulator")
