"""Keys on the Settings page: typed into a form that Streamlit never sees, kept by a route, shown by their end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - before a page of the same name is found
import bootstrap
import kept_keys
from desk import logs
from etrade.vault import file_key
from settings import Settings, load
from tests.conftest import ROOT
from tests.peopled import Peopled, page, peopled, words
from tests.posting import post
from ui.keys import POST

SECRET = "canary-7f3a91bc4F2A"
SETTINGS = ROOT / "pages" / "settings.py"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    kept_keys.kept_in.cache_clear()
    file_key(tmp_path / "data" / "keys")
    with peopled(tmp_path, monkeypatch) as found:
        yield found


def kept() -> dict[str, str]:
    return kept_keys.kept_in(load().data_dir).read()


def secret_of(desk: Peopled, name: str) -> str:
    desk.enter(name)
    return desk.cookies["sid"]


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def button(at: AppTest, label: str) -> Any:
    return next(one for one in at.button if one.label == label)


# The route


async def test_an_owner_keeps_keys_and_nothing_of_them_comes_back(desk: Peopled) -> None:
    fields = {"group": "etrade", "ETRADE_ENVIRONMENT": "sandbox", "ETRADE_CONSUMER_KEY": f" {SECRET} "}

    answer = await post(POST, {**fields, "ETRADE_CONSUMER_SECRET": ""}, secret_of(desk, "olga"))

    assert answer.status == 200
    assert answer.told["said"].startswith("Kept: Consumer key, Environment. Choose E*TRADE under")
    assert SECRET not in answer.text
    assert kept() == {"etrade_environment": "sandbox", "etrade_consumer_key": SECRET}
    assert (load().etrade_environment, load().trading) == ("sandbox", "paper")
    assert SECRET not in logs.clean(SECRET)


@pytest.mark.parametrize(("name", "status"), [("vera", 400), ("tim", 400), ("", 401)])
async def test_only_an_owner_may(desk: Peopled, name: str, status: int) -> None:
    fields = {"group": "webhook", "WEBHOOK_SECRET": SECRET}

    answer = await post(POST, fields, secret_of(desk, name) if name else "")

    assert answer.status == status
    assert kept() == {}


async def test_an_owner_who_pressed_nothing_for_long_may_not(desk: Peopled) -> None:
    secret = secret_of(desk, "olga")
    desk.clock.advance(minutes=16)

    answer = await post(POST, {"group": "webhook", "WEBHOOK_SECRET": SECRET}, secret)

    assert "sign in again" in answer.told["problem"]
    assert kept() == {}


@pytest.mark.parametrize(
    "how",
    [
        {"origin": "http://evil.example"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:9999"},
        {"kind": "application/x-www-form-urlencoded"},
        {"kind": "text/plain"},
    ],
)
async def test_another_page_cannot_post_for_who_is_signed_in(desk: Peopled, how: dict[str, str]) -> None:
    answer = await post(POST, {"group": "webhook", "WEBHOOK_SECRET": SECRET}, secret_of(desk, "olga"), **how)

    assert answer.status == 403
    assert kept() == {}


async def test_a_wrong_one_is_said_and_nothing_is_kept(desk: Peopled) -> None:
    fields = {"group": "slack", "SLACK_BOT_TOKEN": SECRET, "SLACK_WEBHOOK_URL": f"http://example.com/{SECRET}"}

    answer = await post(POST, fields, secret_of(desk, "olga"))

    assert answer.status == 400
    assert answer.told["problem"] == (
        "Webhook address: it must be an https:// address (http:// only to this machine). Nothing was changed."
    )
    assert kept() == {}


async def test_what_leaves_this_machine_is_not_chosen_here(desk: Peopled) -> None:
    answer = await post(POST, {"group": "etrade", "TRADING": "etrade"}, secret_of(desk, "olga"))

    assert answer.status == 400
    assert load().trading == "paper"


async def test_a_desk_that_runs_on_etrade_is_opened_with_the_new_key(
    desk: Peopled, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secret_of(desk, "olga")
    chosen: list[str] = []
    running = bootstrap.start()
    monkeypatch.setattr(running, "settings", running.settings.model_copy(update={"data_source": "etrade"}))
    monkeypatch.setattr(bootstrap, "choose_source", chosen.append)

    answer = await post(POST, {"group": "etrade", "ETRADE_CONSUMER_KEY": SECRET}, secret)

    assert chosen == ["etrade"]
    assert "The desk was opened with it." in answer.told["said"]

    live = {"data_source": "etrade", "trading": "etrade"}
    monkeypatch.setattr(running, "settings", running.settings.model_copy(update=live))
    answer = await post(POST, {"group": "etrade", "ETRADE_CONSUMER_KEY": f"{SECRET}2"}, secret)

    assert chosen == ["etrade"]
    assert "Start the dashboard, and an engine of its own where one runs, again" in answer.told["said"]


# The page


async def test_the_page_shows_the_end_of_a_key_and_holds_it_nowhere(desk: Peopled) -> None:
    secret = secret_of(desk, "olga")
    fields = {"group": "etrade", "ETRADE_CONSUMER_KEY": SECRET, "ETRADE_ENVIRONMENT": "sandbox"}
    assert (await post(POST, fields, secret)).status == 200

    at = page(SETTINGS, tab="E*TRADE")

    assert "Consumer key** · ends …4F2A · :gray[kept on this machine, encrypted]" in said(at)
    assert "Environment** · sandbox" in said(at)
    assert SECRET not in words(at)
    assert SECRET not in repr(at.session_state)

    button(at, "Forget consumer key").click().run()

    assert not at.exception
    assert kept() == {"etrade_environment": "sandbox"}


def test_what_env_says_has_no_field(desk: Peopled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.enter("olga")
    assert '"ETRADE_CONSUMER_SECRET"' in forms(page(SETTINGS, tab="E*TRADE"))
    monkeypatch.setenv("ETRADE_CONSUMER_SECRET", SECRET)
    (tmp_path / ".env").write_text("SMPT_SERVER=mail.example.com\n")
    monkeypatch.setitem(Settings.model_config, "env_file", str(tmp_path / ".env"))

    at = page(SETTINGS, tab="E*TRADE")

    assert '"ETRADE_CONSUMER_SECRET"' not in forms(at)
    assert '"ETRADE_CONSUMER_KEY"' in forms(at)
    assert "Consumer secret** · ends …4F2A · :gray[set by the environment, which wins]" in said(at)
    assert ".env says SMPT_SERVER, which nobody reads: is SMTP_SERVER meant?" in said(at)


def test_who_may_not_sees_a_sentence_and_no_field(desk: Peopled) -> None:
    desk.enter("tim")

    at = page(SETTINGS, tab="E*TRADE")

    assert "changes no keys" in said(at)
    assert POST not in forms(at)


def test_a_desk_without_people_lets_its_owner(desk: Peopled, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in ("vera", "tim"):
        desk.accounts.remove(one, by="olga")
    monkeypatch.setattr(type(desk.accounts), "any", lambda _: False)

    assert POST in forms(page(SETTINGS, tab="E*TRADE"))


def test_what_cannot_be_read_is_said_and_set_aside_only_when_told(desk: Peopled) -> None:
    desk.enter("olga")
    file = load().data_dir / "keys" / "kept.sealed"
    file.write_bytes(b"scribble")

    at = page(SETTINGS, tab="E*TRADE")

    assert "damaged, or was locked with another machine's key. The desk goes on without them." in said(at)
    assert file.read_bytes() == b"scribble"

    button(at, "Set it aside").click().run()

    assert not file.exists()
    assert "damaged" not in said(at)


def forms(at: AppTest) -> str:
    """What the forms beside Streamlit's own were told to draw."""
    return words(at).replace('\\"', '"')
