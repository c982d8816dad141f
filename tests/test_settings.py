"""settings.py: the only reader of the environment, and `.env.example` tells the whole truth about it."""

from __future__ import annotations

import pytest

from domain.errors import SettingsError
from settings import Settings, load
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
