"""The doctor: each thing that is broken is named with its cure, nothing stops it, nothing is changed or given away."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import settings as settings_file
from domain.clock import ManualClock, SystemClock
from settings import Settings
from tests.conftest import ROOT
from tests.kept_desks import everything, made, settings_in, small
from tests.ledgers import opened
from upkeep import checks_doors, checks_machine, doctor, findings
from upkeep.findings import FINE, NOTE, WRONG, Finding

CANARY = "canary-of-a-secret-9041"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with a sound desk in it, and nothing of this machine's settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "backups"))
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    small(tmp_path)
    (tmp_path / "data").chmod(0o700)
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[server]\naddress = "127.0.0.1"\nport = 1\n')
    return tmp_path


def examined() -> list[Finding]:
    return list(doctor.examine())


def wrongs() -> dict[str, Finding]:
    return {one.what: one for one in examined() if one.state == WRONG}


def test_a_sound_desk_has_nothing_wrong_and_is_left_as_it_was(here: Path) -> None:
    made(settings_in(here), SystemClock())
    before = everything(settings_in(here))

    found = examined()

    assert [one for one in found if one.state == WRONG] == []
    assert everything(settings_in(here)) == before
    assert len(found) >= 15
    assert findings.told(found, io.StringIO()) == 0
    said = {one.what: one.said for one in found}
    assert "whole, up to date" in said["ledger-paper-simulated.db"] or "no engine" in said["ledger-paper-simulated.db"]
    assert said["Backups"] == "the newest of 1 is less than a day old"


def test_everything_that_is_broken_is_named_at_once_and_nothing_stops_the_look(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dozen breakages in one folder, each with its own cure."""
    data = here / "data"
    made(settings_in(here), ManualClock(datetime(2020, 1, 1, tzinfo=UTC)))
    (here / ".env").write_text(
        f"ETRADE_ENVIRONMENT=production\nETRADE_CONSUMER_KEY={CANARY}\nETRADE_CONSUMR_SECRET={CANARY}\n"
        f"SMTP_SERVER=mail.example.com\nSMTP_PASS={CANARY}\nBACKUP_DAILY=3\n"
        f"DATABASE_URL=postgresql://desk:{CANARY}@127.0.0.1:1/ledger\n"
    )
    (here / ".env").chmod(0o644)
    with closing(sqlite3.connect(data / "ledger-paper-simulated.db")) as db, db:
        db.execute("DROP TRIGGER audit_changed")
        db.execute("UPDATE audit SET actor = 'nobody'")
    opened(f"sqlite:///{data / 'ledger-paper-newer.db'}").close()
    with closing(sqlite3.connect(data / "ledger-paper-newer.db")) as db, db:
        db.execute("UPDATE alembic_version SET version_num = 'r9999'")
    (data / "ledger-paper-torn.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 9_000)
    (data / "people.db").write_bytes(b"no database" * 900)
    (data / "HALT").write_text("4 because")
    (data / "restore.json").write_text("{}")
    (data / "candles" / "x").mkdir(parents=True)
    (data / "candles" / "x" / "2026.parquet").write_bytes(b"PAR1")
    (here / "models").mkdir()
    (here / "models" / "pattern_nn_v1.json").write_text("{")
    (here / ".streamlit" / "config.toml").write_text('[server]\naddress = "0.0.0.0"\nport = 1\n')
    (here / ".streamlit" / "secrets.toml").write_text("[credentials")
    data.chmod(0o777)
    before = everything(settings_in(here))

    out = io.StringIO()
    found = examined()
    code = findings.told(found, out)

    bad = {one.what for one in found if one.state == WRONG}
    assert {
        "Settings",
        "Data folder",
        "ledger-paper-simulated.db",
        "ledger-paper-newer.db",
        "ledger-paper-torn.db",
        "PostgreSQL",
        "people.db",
        "E*TRADE keys",
        "Accounts",
        "Encryption",
        "Channel email",
        "Model pattern_nn_v1",
        "Backups",
    } <= bad
    notes = {one.what for one in found if one.state == NOTE}
    assert {"HALT file", "Candles"} <= notes
    text = out.getvalue()
    assert "ETRADE_CONSUMR_SECRET, which nobody reads: is ETRADE_CONSUMER_SECRET meant?" in text
    assert "chmod 600 .env" in text
    assert "content does not match its hash" in text
    assert "half restored" in text
    assert all(one.why and one.cure for one in found if one.state == WRONG)
    assert code == 1
    assert CANARY not in text
    assert everything(settings_in(here)) == before


def test_settings_that_cannot_be_read_are_named_and_the_rest_is_still_looked_at(here: Path) -> None:
    (here / ".env").write_text("CHART_BARS=7\nDATA_SOURCE=yaho\n")

    found = examined()

    said = [one.said for one in found if one.what == "Settings" and one.state == WRONG]
    assert any(one.startswith("CHART_BARS: ") for one in said)
    assert any("Did you mean 'yahoo'" in one for one in said)
    assert not [one for one in found if "the look itself broke off" in one.said]
    assert settings_file.roughly().data_dir == Path("data")
    assert any(one.what == "ledger-paper-simulated.db" and one.state == FINE for one in found)


def test_a_check_that_breaks_is_a_finding_and_the_next_one_follows(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    def breaks() -> Iterator[Finding]:
        yield findings.fine("before", "said")
        raise RuntimeError(f"postgresql://desk:{CANARY}@host/db is gone")

    monkeypatch.setattr(checks_machine, "tools", breaks)

    found = examined()

    [broken] = [one for one in found if one.what == "tools"]
    assert "RuntimeError: postgresql://desk:[hidden]@host/db is gone" in broken.said
    assert any(one.what == "before" for one in found)
    assert found[-1].what == "Clock"


def test_without_any_package_it_still_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    """The standard library alone: an interpreter that finds no installed package."""
    for command in (["-m", "upkeep", "doctor"], ["-m", "bootstrap", "--check"]):
        ended = subprocess.run(
            [sys._base_executable, "-I", "-S", "-c", RUN.format(root=str(ROOT), command=command)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

        assert ended.returncode == 1, ended.stderr
        assert "Package streamlit: is not installed" in ended.stdout
        assert "cure: make run" in ended.stdout
        assert "is not installed" in ended.stdout.split("HALT")[0]
        assert "Traceback" not in ended.stderr
        assert ended.stdout.rstrip().endswith("to know.")


RUN = """
import runpy, sys
sys.path.insert(0, {root!r})
command = {command!r}
sys.argv = command[1:]
runpy.run_module(command[1], run_name="__main__", alter_sys=True)
"""


def test_what_the_doctor_itself_is_made_of_is_read_by_older_pythons() -> None:
    """A Python that is too old must be told so in words, not by a SyntaxError."""
    import ast

    for name in ("__main__", "__init__", "findings", "doctor", "checks_machine", "unsaid"):
        ast.parse((ROOT / "upkeep" / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_a_certificate_that_ends_is_said_in_time(here: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "desk")])
    cert, pem = here / "cert.pem", here / "key.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pem.chmod(0o600)
    config = here / ".streamlit" / "config.toml"
    config.write_text(f'[server]\nport = 1\nsslCertFile = "{cert}"\nsslKeyFile = "{pem}"\n')
    states = []
    for days in (-1, 7, 90):
        made_at = now - timedelta(days=100)
        built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        built = built.serial_number(1).not_valid_before(made_at).not_valid_after(now + timedelta(days=days))
        cert.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        states += [one.state for one in checks_doors.port_and_tls() if one.what == "TLS files"]
    pem.chmod(0o644)
    states += [one.state for one in checks_doors.port_and_tls() if one.what == "TLS files"]

    assert states == [WRONG, NOTE, FINE, WRONG, FINE]


def test_a_door_that_the_environment_opens_wider_is_seen_as_in_a_container(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens on every address needs an account and encryption, whatever the file says."""
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")

    found = [*checks_doors.accounts(), *checks_doors.port_and_tls()]

    said = {one.what: one.said for one in found if one.state == WRONG}
    assert said["Encryption"] == "none, and it listens on 0.0.0.0"
    assert said["Accounts"] == "none yet"


def test_a_certificate_that_the_environment_names_is_looked_at(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_SSL_CERT_FILE", str(here / "gone.pem"))
    monkeypatch.setenv("STREAMLIT_SERVER_SSL_KEY_FILE", str(here / "gone.pem"))

    [found] = [one for one in checks_doors.port_and_tls() if one.what == "TLS files"]

    assert found.state == WRONG
    assert "gone.pem" in found.said
