"""The command line of backups: make, list, verify, restore. A passphrase is typed or lies in a file, never in the
command."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

import settings as settings_file
from domain.clock import SystemClock
from domain.errors import BackupError, DeskError
from settings import Settings
from upkeep import archive, backup, restore
from upkeep.presence import JOURNAL


def run(arguments: list[str]) -> int:
    """0 where it was done, 1 where something found is wrong, 2 where it was refused."""
    asked = _parser().parse_args(arguments)
    try:
        return _do(asked, settings_file.load())
    except DeskError as error:
        print(str(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was there still is", file=sys.stderr)
        return 2


def _do(asked: argparse.Namespace, settings: Settings) -> int:
    if asked.what == "backup":
        return _backup(asked, settings)
    if asked.what == "restore":
        return _restore(asked, settings)
    if asked.what == "verify":
        manifest = archive.verified(asked.archive)
        print(f"{asked.archive.name}: whole, {len(manifest.files)} files, made {manifest.made_at:%d %b %Y %H:%M} UTC")
        for one in manifest.ledgers:
            print(f"  {one.name}: {one.audit_seq:,} audit lines{'; contradicts itself' if one.problems else ''}")
        return 1 if any(one.problems for one in manifest.ledgers) else 0
    folder, desk = asked.to or settings.backup_dir, backup.identity(settings.data_dir)
    of_ours = backup.listed(folder, desk)
    for found in of_ours:
        made = f"{found.manifest.made_at:%d %b %Y %H:%M} UTC" if found.manifest else found.wrong
        print(f"{found.path.name}  {backup.size_words(found.size):>10}  {made}")
    others = len(backup.listed(folder)) - len(of_ours)
    if others or not of_ours:
        said = f"{'none' if not of_ours else len(of_ours)} of this desk in {folder}"
        print(said + (f"; {others} of other desks there: name one to restore it" if others else ""))
    return 0


def _backup(asked: argparse.Namespace, settings: Settings) -> int:
    to = asked.to or settings.backup_dir
    if asked.keep is not None:
        backup.check_keep(asked.keep)
    passphrase = _passphrase(asked, twice=True) if asked.secrets else None
    made = backup.make(settings, to, clock=SystemClock(), candles=asked.candles, passphrase=passphrase)
    print(f"{made.path}: {len(made.manifest.files)} files, {backup.size_words(made.size)}, read back and whole")
    for said in made.manifest.left_out:
        print(f"  not in it: {said}")
    if asked.keep is not None:
        for path in backup.prune(settings, to, asked.keep):
            print(f"  older than the newest {asked.keep}, removed: {path.name}")
    wrong = [(one.name, said) for one in made.manifest.ledgers for said in one.problems]
    for name, said in wrong[:5]:
        print(f"  {name} contradicts itself: {said}", file=sys.stderr)
    return 1 if wrong else 0


def _restore(asked: argparse.Namespace, settings: Settings) -> int:
    path: Path | None = asked.archive
    if path is None:
        if not (settings.data_dir / JOURNAL).exists():
            raise BackupError("say which archive: make restore FROM=backups/desk-….zip (make backups lists them)")
        path = Path()
    passphrase = _passphrase(asked, twice=False) if asked.secrets else None
    done = restore.restore(
        settings, path, clock=SystemClock(), passphrase=passphrase, accept_damage=asked.accept_damage
    )
    if done.manifest is not None:
        print(f"Restored {path.name}: {len(done.manifest.files)} files.")
    if done.aside.exists():
        print(f"What was there before lies in {done.aside}")
    for said in done.notes:
        print(f"{said[0].upper()}{said[1:]}.")
    return 0


def _passphrase(asked: argparse.Namespace, *, twice: bool) -> str:
    if asked.passphrase_file is not None:
        try:
            return str(asked.passphrase_file.read_text(encoding="utf-8").strip("\r\n"))
        except (OSError, UnicodeDecodeError):
            raise BackupError(f"{asked.passphrase_file} cannot be read") from None
    if not sys.stdin.isatty():
        raise BackupError("a passphrase is typed at a terminal, or lies in a file: --passphrase-file FILE")
    typed = getpass.getpass("Passphrase for the secrets: ")
    if twice and getpass.getpass("The same again: ") != typed:
        raise BackupError("the two passphrases are not the same: nothing was done")
    return typed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m upkeep", description="The doctor, backups and the way back from one.")
    whats = parser.add_subparsers(dest="what", required=True)
    whats.add_parser("doctor", help="what is wrong, why it matters and what cures it")
    one = whats.add_parser("backup", help="make a backup while the desk runs")
    one.add_argument("--to", type=Path, help="the folder it goes to (default: BACKUP_DIR)")
    one.add_argument("--candles", action="store_true", help="with kept candles and your own files")
    one.add_argument("--keep", type=int, help="afterwards remove all but the newest so many of this desk")
    one = _secret(whats.add_parser("restore", help="put a backup in the place of what is there"))
    one.add_argument("archive", type=Path, nargs="?", help="the archive; none: finish a restore that was cut short")
    one.add_argument("--accept-damage", action="store_true", help="restore a ledger that contradicts itself")
    _secret(whats.choices["backup"])
    one = whats.add_parser("verify", help="read an archive to the last byte")
    one.add_argument("archive", type=Path)
    one = whats.add_parser("list", help="the archives there are")
    one.add_argument("--to", type=Path, help="where to look (default: BACKUP_DIR)")
    return parser


def _secret(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--secrets", action="store_true", help="with the secrets, sealed by a passphrase")
    parser.add_argument("--passphrase-file", type=Path, help="where the passphrase lies, instead of typing it")
    return parser
