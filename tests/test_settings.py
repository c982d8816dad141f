"""settings.py: the only reader of the environment, and `.env.example` tells the whole truth about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import SettingsError
from settings import Settings, doubts, load
from tests.conftest import ROOT


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(example()) == {name.upper() for name in Settings.model_fields}


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in example().items():
        monkeypatch.setenv(name, value)

    assert load() == Settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATA_SOURCE", "yaho", "DATA_SOURCE: .*Did you mean 'yahoo'"),
        ("FETCH_AT_ONCE", "0", "FETCH_AT_ONCE: .*greater than or equal to 1"),
        ("FETCH_TIMEOUT_S", "soon", "FETCH_TIMEOUT_S: .*valid number"),
        ("SIMULATED_CLOCK", "late", "SIMULATED_CLOCK: .*'shifted' or 'real'"),
        ("WATCHLIST", "AAPL,../x", "WATCHLIST: .*a symbol is up to 15"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=said):
        load()


def test_the_watch_list_is_read_from_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHLIST", " aapl, btc/usdt ,")

    assert load().watchlist == ("AAPL", "BTCUSDT")


# The names of the user's manual, section 4
MANUAL = (
    "ETRADE_CONSUMER_KEY",
    "ETRADE_CONSUMER_SECRET",
    "ETRADE_OAUTH_TOKEN",
    "ETRADE_OAUTH_TOKEN_SECRET",
    "SMTP_SERVER",
    "SMTP_USER",
    "SMTP_PASS",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
)


@pytest.mark.parametrize("by", ["environment", "file"])
def test_every_name_of_the_manual_is_read(env_file: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    values = {name: f"value-of-{name.lower()}" for name in MANUAL}
    values |= {"ETRADE_ACCOUNT_ID": "12345678", "SMTP_PORT": "465", "TWILIO_FROM_NUMBER": "+12125550123"}
    values["SLACK_WEBHOOK_URL"] = "https://hooks.slack.com/services/T/B/x"
    if by == "file":
        env_file.write_text("\n".join(f"{name}={value}" for name, value in values.items()))
    else:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    found = load()

    for name, value in values.items():
        assert str(getattr(found, name.lower().replace("oauth", "access"))) == value
    assert doubts() == []


# What .env may mean otherwise


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / ".env"
    path.touch(0o600)
    monkeypatch.setitem(Settings.model_config, "env_file", str(path))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("SMPT_SERVER", "SMTP_SERVER"),
        ("TWILIO_TOKEN", "TWILIO_AUTH_TOKEN"),
        ("etrade_consumer_keys", "ETRADE_CONSUMER_KEY"),
        ("DATASOURCE", "DATA_SOURCE"),
        ("SLACK_WEBHOOK", "SLACK_WEBHOOK_URL"),
    ],
)
def test_a_name_that_nobody_reads_is_said_with_the_one_that_is_meant(env_file: Path, written: str, meant: str) -> None:
    env_file.write_text(f"WATCHLIST=AAPL\n{written}=x\nMY_OWN_THING=1\nLANG=C\n")

    assert doubts() == [f".env says {written.upper()}, which nobody reads: is {meant} meant?"]


def test_a_file_that_others_can_read_is_said(env_file: Path) -> None:
    env_file.chmod(0o640)

    assert doubts() == ["others on this machine can read .env and the keys in it: chmod 600 .env"]


def test_what_is_read_otherwise_than_it_is_written_is_said(env_file: Path) -> None:
    env_file.write_text("SMTP_PASS=a${HOME}b\nWATCHLIST=AAPL\nSMTP_SERVER: mail\n")

    assert doubts() == [
        ".env, line 3: this is no NAME=value, so nobody reads it",
        ".env: the ${…} in SMTP_PASS is replaced by what the environment says",
    ]


def test_a_proxy_that_is_not_named_is_said(env_file: Path) -> None:
    env_file.write_text("PUBLIC_URL=https://desk.example.com\n")
    [said] = doubts()
    env_file.write_text("PUBLIC_URL=https://desk.example.com\nPROXY_ADDRESS=127.0.0.1\n")

    assert "one stranger locks everybody out" in said
    assert doubts() == []


@pytest.mark.parametrize("coding", ["utf-16", "latin-1"])
def test_a_file_that_is_no_text_is_named(env_file: Path, coding: str) -> None:
    env_file.write_bytes("SMTP_SERVER=mail\nSMTP_PASS=gehä\n".encode(coding))

    with pytest.raises(SettingsError, match=r"\.env: line \d is no UTF-8 text: save the file as UTF-8"):
        load()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_of_any_editor_is_read(env_file: Path, end: str) -> None:
    lines = ["SMTP_SERVER=mail  # ours", "export SMTP_PASS='b#c d'", ' SMTP_PORT = "465"']
    env_file.write_bytes(end.join(lines).encode("utf-8-sig"))

    found = load()

    assert (found.smtp_server, found.smtp_pass, found.smtp_port) == ("mail", "b#c d", 465)


def test_without_a_file_there_is_nothing_to_doubt(env_file: Path) -> None:
    env_file.unlink()

    assert doubts() == []
