"""The demo's own data folder: made anew for each demo, and never anybody else's."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

from domain.errors import SettingsError
from simulator.demo import market, script
from upkeep.presence import used

INSIDE, DAY, BEGUN = "demo", "day.json", "begun.json"  # as `feeds._demo_day` looks for them


def made(folder: Path) -> Path:
    """An empty folder with the day in it. SettingsError, and nothing touched, where something lies there that is no
    demo's: a ledger, keys, anything."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is no folder: name another with --folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / INSIDE / DAY).is_file():
        raise SettingsError(f"{folder} holds something that is no demo's: name another folder with --folder")
    if folder.is_symlink():
        raise SettingsError(f"{folder} is a link: name the folder itself")
    if used(folder):
        raise SettingsError(f"another demo runs in {folder}: stop it, or name another folder with --folder")
    if folder.exists():
        shutil.rmtree(folder)
    (folder / INSIDE).mkdir(parents=True, mode=0o700)
    told = {
        "opens": script.moment(script.OPENS).isoformat(),
        "ends": script.moment(script.ENDS).isoformat(),
        "minutes": market.day(),
    }
    (folder / INSIDE / DAY).write_text(json.dumps(told), encoding="utf-8")
    return folder


def begin(folder: Path, now: datetime) -> None:
    """From `now` on, in real time, the clock runs."""
    path = folder / INSIDE / BEGUN
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"begun": now.isoformat()}), encoding="utf-8")
    beside.replace(path)
