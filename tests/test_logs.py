"""desk/logs.py: one JSON object a line, and no secret on any of them, whoever logs it and however."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from desk import logs
from domain.errors import UnknownName
from notices import log_watch
from settings import Settings
from tests.conftest import ROOT

# A password with everything that JSON, an address and Python would spell otherwise.
PASSWORD = 'Kanarie/ü "42"+&\\'
CANARIES = {
    "smtp_pass": PASSWORD,
    "etrade_consumer_secret": "canary-consumer-secret",
    "etrade_access_token": "canary-access-token",
    "twilio_account_sid": "ACcanary0001",
    "twilio_auth_token": "canary-twilio-token",
    "slack_bot_token": "xoxb-canary-slack",
    "slack_webhook_url": "https://hooks.slack.com/services/T1/B1/canarypath",
    "webhook_secret": "canary-webhook-secret",
    "database_url": "postgresql://desk:canary-database@127.0.0.1/x_{desk}",
}
ACCOUNT = "98765432"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = Settings(data_dir=tmp_path, etrade_account_id=ACCOUNT, **CANARIES)
    logs.setup(made, "test", console=False)
    yield made
    logs.restore()


def written(settings: Settings) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in settings.log_path.parent.glob("desk.jsonl*"))


def test_a_line_is_json_with_its_context(settings: Settings) -> None:
    structlog.get_logger("engine").warning("no prices", symbol="AAPL", order="1f03")
    logging.getLogger("desk").error("cannot %s", "buy", extra={"symbol": "KO"})

    first, second = (json.loads(line) for line in settings.log_path.read_text().splitlines())
    assert (first["event"], first["level"], first["symbol"], first["order"]) == ("no prices", "warning", "AAPL", "1f03")
    assert (second["event"], second["logger"], second["symbol"], second["program"]) == (
        "cannot buy",
        "desk",
        "KO",
        "test",
    )
    assert datetime.fromisoformat(first["at"]).tzinfo is not None
    assert settings.log_path.stat().st_mode & 0o077 == 0


def fail_with(secret: str) -> None:
    try:
        raise ConnectionError(f"GET https://x/?oauth_token={secret}")
    except ConnectionError as error:
        raise ValueError({"inner": secret}) from error


def test_no_secret_is_written_however_it_is_logged(settings: Settings) -> None:
    plain, ours = logging.getLogger("requests_thing"), structlog.get_logger("ours")
    for secret in [*CANARIES.values(), ACCOUNT]:
        plain.warning("GET /?a=%s&b=1", secret)
        plain.warning("all of it: %(a)s %(b)r", {"a": secret, "b": [secret]})
        plain.warning(f"{secret!r} {json.dumps(secret)}")
        plain.warning("does not fit %d", secret)
        ours.info("sent", headers={"Authorization": f"Basic {secret}"}, deep=[{"k": (secret,)}], raw=secret.encode())
        ours.bind(password=secret, **{f"key {secret}": 1}).error("bound")
        try:
            fail_with(secret)
        except ValueError:
            plain.exception("broke on %s", secret)
            ours.exception("broke", symbol=secret)

    text = written(settings)
    assert text.count("\n") == 8 * (len(CANARIES) + 1)
    assert "anar" not in text.replace("test_no_secret", "")
    assert ACCOUNT not in text
    assert "…5432" in text
    assert "Traceback" in text  # what broke can still be seen
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


def test_what_nobody_declared_is_known_by_its_looks(settings: Settings) -> None:
    log = logging.getLogger("wire")
    log.warning(
        'Authorization: OAuth oauth_consumer_key="k9canary", oauth_signature="s9canary%3D", oauth_nonce="n9canary"'
    )
    log.warning("GET /v1/market?oauth_token=t9canary&apiKey=a9canary&symbol=AAPL")
    log.warning("{'oauth_token_secret': 'ts9canary', 'signature': 'sg9canary'}")
    log.warning("Bearer xoxp-9canary-9canary and postgresql://desk:p9canary@host/db")
    log.warning("https://hooks.slack.com/services/T9canary/B9/x")
    log.warning("GET https://api.etrade.com/v1/accounts/k9canaryKEYabcd/portfolio accountIdKey=z9canaryWXYZ")

    text = written(settings)
    assert "canary" not in text
    assert "symbol=AAPL" in text
    assert "…abcd/portfolio" in text
    assert "…WXYZ" in text


def test_a_terminal_is_told_nothing_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup(settings, "test")
    logging.getLogger("desk").warning("asked for %s", "\x1b[2J\x9b31mAAPL\r\x07")

    assert "asked for ?[2J?31mAAPL??" in capsys.readouterr().err


def test_a_secret_learned_later_is_hidden_too(settings: Settings) -> None:
    logs.hide("token-of-today")
    logging.getLogger("etrade").warning("got token-of-today")

    assert "token-of-today" not in written(settings)


def test_a_library_with_a_handler_of_its_own_shows_no_secret(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    stubborn = logging.getLogger("stubborn")
    stubborn.propagate = False
    stubborn.addHandler(handler := logging.StreamHandler(sys.stdout))
    try:
        try:
            fail_with(PASSWORD)
        except ValueError:
            stubborn.exception("broke on %s", PASSWORD)
    finally:
        stubborn.removeHandler(handler)

    shown = capsys.readouterr().out
    assert "broke on [hidden]" in shown
    assert "Kanarie" not in shown


def test_the_file_turns_over_and_no_line_is_torn_or_lost(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [logs.JsonLines(settings.log_path, logging.Formatter("%(message)s"), most_bytes=20_000) for _ in range(4)]

    def write(who: int) -> None:
        for n in range(250):
            said = json.dumps({"who": who, "n": n, "pad": "x" * 60})
            files[who].emit(logging.LogRecord("x", logging.INFO, "", 0, said, None, None))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for file in files:
        file.close()

    lines = [json.loads(line) for line in written(settings).splitlines()]
    assert len({(line["who"], line["n"]) for line in lines}) == len(lines) == 1000
    assert settings.log_path.stat().st_size <= 20_000
    assert len(list(settings.log_path.parent.glob("desk.jsonl.?"))) >= 4


def test_the_log_is_read_by_level_symbol_order_and_words(settings: Settings) -> None:
    log = structlog.get_logger("engine")
    log.info("filled", symbol="AAPL", order="1")
    log.error("refused", symbol="AAPL", order="2")
    log.warning("late", symbol="KO")
    path = settings.log_path

    assert [line.event for line in logs.read(path)] == ["late", "refused", "filled"]
    assert [line.event for line in logs.read(path, level="warning")] == ["late", "refused"]
    assert [line.event for line in logs.read(path, symbol="AAPL", order="1")] == ["filled"]
    assert [line.event for line in logs.read(path, text="REFUSED")] == ["refused"]
    assert [line.event for line in logs.read(path, most=1)] == ["late"]
    assert logs.read(path, since=datetime(2999, 1, 1, tzinfo=UTC)) == []
    with pytest.raises(UnknownName, match="Did you mean 'warning'"):
        logs.read(path, level="warnin")


def test_a_process_of_its_own_logs_and_leaks_nothing(tmp_path: Path) -> None:
    code = (
        "from desk import logs; from settings import load; import logging, sys\n"
        "s = load(); logs.setup(s, 'child'); logging.getLogger('x').error('with %s', s.smtp_pass)\n"
        "raise SystemExit(0)"
    )
    env = {"DATA_DIR": str(tmp_path), "SMTP_PASS": PASSWORD, "PATH": "", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )

    text = (tmp_path / "logs" / "desk.jsonl").read_text()
    assert "with [hidden]" in text
    assert "with [hidden]" in ran.stderr
    assert "Kanarie" not in text + ran.stderr + ran.stdout


# Errors are told from here on


def test_errors_are_read_once_over_a_turning_over(settings: Settings) -> None:
    log = structlog.get_logger("engine")
    log.error("before anybody looked")
    told, moved = log_watch.read(settings.log_path, None)
    assert told == []
    position = moved["log"][1]

    log.error("first", symbol="AAPL")
    settings.log_path.replace(logs.numbered(settings.log_path, 1))
    log.info("nothing")
    log.critical("second")
    structlog.get_logger("notifier").error("of itself")
    found = []
    for _ in range(4):
        told, moved = log_watch.read(settings.log_path, position)
        position = moved["log"][1] if moved else position
        found += told

    assert [(one.title, one.symbol, one.severity.value) for one in found] == [
        ("first", "AAPL", "warning"),
        ("second", "", "urgent"),
    ]
    assert len({one.id for one in found}) == 2
    assert log_watch.read(settings.log_path, position) == ([], {})


def test_the_newest_lines_are_read_without_the_others(tmp_path: Path) -> None:
    path = tmp_path / "desk.jsonl"
    told = [
        json.dumps({"event": f"line {n} ü {'x' * (n % 700)}", "level": "info"}, ensure_ascii=False)
        for n in range(3_000)
    ]
    (tmp_path / "desk.jsonl.1").write_text("\n".join(told[:1_000]) + "\n", encoding="utf-8")
    path.write_text("\n".join(told[1_000:]) + "\n", encoding="utf-8")

    found = logs.read(path, most=3_000)

    assert [json.loads(line)["event"] for line in reversed(told)] == [line.event for line in found]
    (tmp_path / "desk.jsonl.1").write_bytes(b"\xff" * 10)
    assert [line.event.split()[1] for line in logs.read(path, most=3)] == ["2999", "2998", "2997"]
    with path.open("rb") as file:
        assert next(logs._backwards(file)) == told[-1]
        assert file.tell() > path.stat().st_size // 2
