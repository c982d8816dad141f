"""Trained models on disk: save, list, load, compare, name the champion, go back, retire.

    manager = ModelManager(Path("models"), SystemClock())
    saved = manager.save(weights, about)             # models/pattern_nn_v1.pth and .json, a version never used before
    manager.point("champion", "v1", why="better than v0 on 2,000 later bars")
    model = manager.load("champion")                 # a domain.models.Model

    python model_manager.py list | card v2 | point champion v2 | back champion | retire v1 | compare v1 v2

The rule: a version is written once and never changed. A file is read as bytes first; only where they are, to the last,
what was saved are they looked into, and then for weights and plain values alone: nothing in a file is ever run. What
changes (aliases, what was retired, why) is in `registry.json`, with its history.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock

from domain.clock import Clock, SystemClock
from domain.errors import DeskError, ModelDamaged, ModelError, ModelMissing, UnknownName
from domain.models import ALIASES, Model, ModelFacts, plain
from learning._files import put

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA, FORMAT = 1, 1
NAME = "pattern_nn"
REGISTRY = "registry.json"
HISTORY = ("at", "action", "alias", "name", "version", "before", "why")
BIGGEST = 512 * 1024 * 1024
BIGGEST_TEXT = 64 * 1024 * 1024
LAST_VERSION = 999_999_999
NEEDED = ("name", "version", "created_utc", "arch", "features", "scaler", "label", "data", "split", "calibration")
NUMBER = (int, float)
SPAN = {"0": str, "1": str}
SHAPE: Mapping[str, Any] = {  # what is read of a description without asking; `?`: where it is there
    "created_utc": str,
    "sentence?": str,
    "arch": {"backbone": str, "hidden": int, "layers": int, "dropout": NUMBER, "classes": list},
    "features": {"timeframe": str, "seq_len": int, "names": list, "spec_version": int, "spec_sha256": str},
    "scaler": {"mean": list, "std": list, "clip": NUMBER},
    "label": {"kind": str},
    "data": {"symbols": list, "start": str, "end": str, "n_rows": int, "source_sha256": str},
    "split": {"scheme": str, "train": SPAN, "val": SPAN, "calib": SPAN, "test": SPAN, "embargo_bars": int},
    "calibration": {"T": NUMBER},
    "metrics?": {
        "test?": {"n": int, "acc": NUMBER, "majority_acc": NUMBER, "acc_ci95": {"0": NUMBER, "1": NUMBER}},
        "baselines?": dict,
    },
    "training?": dict,
    "code?": dict,
    "limits?": list,
    "leaks?": dict,
    "files": {"pth": {"bytes": int, "sha256": str}},
}
_NAMES = re.compile(r"[a-z][a-z0-9_]{0,40}")
_FILES = re.compile(r"(?P<name>[a-z][a-z0-9_]{0,40})_v(?P<version>[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. `said` is its sidecar; `status` candidate, champion, challenger, retired, unfinished or damaged;
    `wrong` says what is wrong with the last two."""

    name: str
    version: int
    status: str
    said: Mapping[str, Any]
    wrong: str = ""

    @property
    def called(self) -> str:
        return f"{self.name}_v{self.version}"


class ModelManager:
    """The models in `folder`. Any number of processes may save, read and name champions at the same time."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = Path(folder), clock

    # In

    def save(
        self, weights: Mapping[str, Tensor], about: Mapping[str, Any], *, name: str = NAME, version: int = 0
    ) -> Entry:
        """Save under the next free version, or under `version` where it is free. ModelError where it is taken, or where
        `about` (the sidecar but for name, version, files and status) holds anything but plain values."""
        import torch

        self.check(name, version)
        said = {"schema_version": SCHEMA, "name": name, "version": 0, "created_utc": _utc(self.clock), **about}
        if missing := [key for key in NEEDED if key not in said]:
            raise ModelError(f"a model cannot be saved without {', '.join(missing)}")
        try:
            plain(said, name)
        except ValueError as error:
            raise ModelError(f"{error}; a model's description is text, numbers, lists and mappings alone") from None
        said["version"] = version = self._claim(name, version)
        into = io.BytesIO()
        state = {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}
        torch.save({"format": FORMAT, "state_dict": state, "arch": said["arch"], "meta_json": json.dumps(said)}, into)
        content = into.getvalue()
        said["files"] = {"pth": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, "onnx": None}
        put(self._path(name, version, "pth"), content)
        put(self._path(name, version, "json"), (json.dumps(said, indent=1) + "\n").encode())
        return self.entry(f"{name}_v{version}")

    def check(self, name: str, version: int = 0) -> None:
        """ModelError where nothing can be saved under this name, or under this version of it."""
        if not _NAMES.fullmatch(name):
            raise ModelError(f"a model's name has small letters, digits and _, and begins with a letter: got {name!r}")
        if version > LAST_VERSION:
            raise ModelError(f"version must be at most {LAST_VERSION:,}: got {version:,}")
        if version and (version < 0 or version in self._versions(name)):
            raise ModelError(f"{name}_v{version} is taken: versions are written once; leave it out")

    def _claim(self, name: str, version: int) -> int:
        """A version for us alone: whoever makes its empty sidecar first has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = version or 1 + max(self._versions(name), default=0)
        while True:
            try:
                if self._path(name, at, "pth").exists():
                    raise FileExistsError
                os.close(os.open(self._path(name, at, "json"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
                return at
            except FileExistsError:
                if version:
                    raise ModelError(f"{name}_v{version} is taken: versions are written once; leave it out") from None
                at += 1

    # Out

    def entries(self, name: str = "") -> list[Entry]:
        """Every version, by name and number; what is unfinished or damaged is listed as that."""
        names = {m["name"] for m in self._files() if not name or m["name"] == name}
        return [self._entry(one, version) for one in sorted(names) for version in sorted(self._versions(one))]

    def entry(self, asked: str, name: str = NAME) -> Entry:
        """One version by alias (`champion`), number (`v3`, `3`) or file (`pattern_nn_v3`). ModelMissing; ModelDamaged
        where its sidecar is."""
        name, version = self._resolve(asked, name)
        if version not in self._versions(name):
            held = ", ".join(e.called for e in self.entries(name)) or "none"
            raise ModelMissing(f"there is no model {name}_v{version} in {self.folder}: there are {held}")
        found = self._entry(name, version)
        if found.wrong:
            raise ModelDamaged(found.wrong)
        return found

    def facts(self, asked: str, name: str = NAME) -> ModelFacts:
        """What is known of a model without loading its weights."""
        return _facts(self.entry(asked, name))

    def load(self, asked: str, name: str = NAME) -> Model:
        """The model, checked byte by byte before anything in it is read. Retired ones are refused."""
        entry = self.entry(asked, name)
        if entry.status == "retired":
            raise ModelError(f"{entry.called} was retired: point {asked!r} at another version")
        content = self._content(entry)
        from learning.served import Served

        return Served(_facts(entry), entry.said, _weights(entry, content))

    def compare(self, *asked: str, name: str = NAME) -> pd.DataFrame:
        """Their figures on their own test slices, a column a version; NaN where one has none."""
        entries = [self.entry(one, name) for one in asked]
        rows: dict[str, dict[str, Any]] = {}
        for entry in entries:
            test = entry.said.get("metrics", {}).get("test", {})
            rows[entry.called] = {
                "status": entry.status,
                "label": entry.said["label"].get("kind"),
                "timeframe": entry.said["features"].get("timeframe"),
                "tested from": str(entry.said["split"].get("test", [""])[0])[:10],
                "tested to": str(entry.said["split"].get("test", ["", ""])[-1])[:10],
                **{key: value for key, value in test.items() if isinstance(value, int | float)},
            }
        return pd.DataFrame(rows)

    # What changes

    def registry(self) -> dict[str, Any]:
        """Aliases, the retired and the history. ModelDamaged where the file is torn."""
        path = self.folder / REGISTRY
        try:
            found = json.loads(_text(path))
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}, not {FORMAT}")
            return _book(found)
        except FileNotFoundError:
            return {"format": FORMAT, "aliases": {}, "retired": {}, "history": []}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelDamaged(
                f"{path} cannot be read ({error}): bring back a copy, or delete it and name a champion"
            ) from None

    def point(self, alias: str, asked: str, *, why: str = "", name: str = NAME) -> Entry:
        """Let `champion` or `challenger` mean this version from now on. It must load."""
        _known(alias)
        self.load(asked, name)
        entry = self.entry(asked, name)
        self._change("point", alias, entry.name, entry.version, why)
        return self.entry(entry.called)

    def roll_back(self, alias: str = "champion", *, why: str = "", name: str = NAME) -> Entry:
        """Let the alias mean what it meant before its last change. ModelMissing where it meant nothing."""
        _known(alias)
        before = _before(self.registry(), alias, name)
        if before is None:
            raise ModelMissing(f"{alias} of {name} has no version before this one to go back to")
        self.load(f"v{before}", name)
        self._change("roll back", alias, name, before, why)
        return self.entry(f"v{before}", name)

    def retire(self, asked: str, *, why: str = "", name: str = NAME) -> Entry:
        """Never load this version again; its files stay. Refused for what an alias means."""
        entry = self.entry(asked, name)
        self._change("retire", "", entry.name, entry.version, why)
        return self.entry(entry.called)

    def _change(self, action: str, alias: str, name: str, version: int, why: str) -> None:
        with FileLock(self.folder / f".{REGISTRY}.lock", timeout=30):
            book = self.registry()
            aliases = book["aliases"].setdefault(name, {})
            if action == "roll back" and _before(book, alias, name) != version:
                raise ModelError(f"the {alias} of {name} was changed meanwhile: look again before you roll it back")
            if alias and version in book["retired"].get(name, []):
                raise ModelError(f"{name}_v{version} was retired: point {alias!r} at another version")
            if not alias and (named := [one for one, of in aliases.items() if of == version]):
                raise ModelError(f"{name}_v{version} is the {named[0]}: point that at another version first")
            line = {"at": _utc(self.clock), "action": action, "alias": alias, "name": name, "version": version}
            book["history"].append({**line, "before": aliases.get(alias), "why": why})
            if alias:
                aliases[alias] = version
            else:
                book["retired"][name] = sorted({*book["retired"].get(name, []), version})
            put(self.folder / REGISTRY, (json.dumps(book, indent=1) + "\n").encode())

    # Files

    def _files(self) -> list[re.Match[str]]:
        found = self.folder.iterdir() if self.folder.is_dir() else iter(())
        paths = [path for path in found if path.suffix in (".json", ".pth")]
        return [match for path in paths if (match := _FILES.fullmatch(path.stem))]

    def _versions(self, name: str) -> set[int]:
        return {int(m["version"]) for m in self._files() if m["name"] == name}

    def _path(self, name: str, version: int, suffix: str) -> Path:
        return self.folder / f"{name}_v{version}.{suffix}"

    def _aliases(self, name: str) -> dict[str, int]:
        found: dict[str, int] = self.registry()["aliases"].get(name, {})
        return found

    def _resolve(self, asked: str, name: str) -> tuple[str, int]:
        if asked in ALIASES:
            version = self._aliases(name).get(asked)
            if version is None:
                raise ModelMissing(
                    f"no model is the {asked} yet: train one (python ml_pipeline.py --data-dir data/ohlcv) and name it "
                    f"(python model_manager.py point {asked} v1)"
                )
            return name, int(version)
        if match := re.fullmatch(r"v?([1-9][0-9]{0,8})", asked):
            return name, int(match[1])
        if match := _FILES.fullmatch(asked.removesuffix(".pth")):
            return match["name"], int(match["version"])
        raise ModelMissing(f"a model is asked for by {', '.join(ALIASES)}, v3 or {name}_v3: got {asked!r}")

    def _entry(self, name: str, version: int) -> Entry:
        said, wrong = _sidecar(self._path(name, version, "json"), name, version)
        if wrong:
            unfinished = "never finished" in wrong
            return Entry(name, version, "unfinished" if unfinished else "damaged", said, wrong)
        if version in self.registry()["retired"].get(name, []):
            return Entry(name, version, "retired", said)
        named = [alias for alias in ALIASES if self._aliases(name).get(alias) == version]
        return Entry(name, version, named[0] if named else "candidate", said)

    def _content(self, entry: Entry) -> bytes:
        """The file's bytes where they are the ones that were saved."""
        path, saved = self._path(entry.name, entry.version, "pth"), entry.said["files"]["pth"]
        try:
            if (size := path.stat().st_size) != saved["bytes"]:
                raise ModelDamaged(f"{path} is torn: it has {size:,} bytes and {saved['bytes']:,} were saved")
            content = path.read_bytes()
        except FileNotFoundError:
            raise ModelDamaged(f"{path} is gone; its description is still there") from None
        if hashlib.sha256(content).hexdigest() != saved["sha256"]:
            raise ModelDamaged(f"{path} was changed since it was saved (its sha256 differs): it is not read")
        return content


class Shelf:
    """`domain.models.Shelf` over a manager: each version is loaded once a process and then kept."""

    def __init__(self, manager: ModelManager) -> None:
        self.manager = manager
        self._kept: dict[tuple[str, str], Model] = {}

    def facts(self, asked: str) -> ModelFacts:
        return self.manager.facts(asked)

    def model(self, asked: str) -> Model:
        entry = self.manager.entry(asked)
        key = (entry.called, entry.said["files"]["pth"]["sha256"])
        if key not in self._kept or entry.status == "retired":
            self._kept[key] = self.manager.load(entry.called)
        return self._kept[key]


@functools.cache
def shelf() -> Shelf:
    """The shelf of this process, over the models folder of the settings."""
    import settings

    return Shelf(ModelManager(settings.load().models_dir, SystemClock()))


# What is in the files


def _sidecar(path: Path, name: str, version: int) -> tuple[dict[str, Any], str]:
    """The description, and what is wrong with it."""
    try:
        text = _text(path)
        if not text:
            return {}, f"{name}_v{version} was never finished: whoever saved it stopped before the end"
        said = json.loads(text)
        if said.get("schema_version") != SCHEMA:
            known = f"this program knows {SCHEMA}"
            return {}, f"{path} has schema {said.get('schema_version')!r} and {known}: use the program that saved it"
        if missing := [key for key in (*NEEDED, "files") if key not in said]:
            return {}, f"{path} lacks {', '.join(missing)}"
        if (said["name"], said["version"]) != (name, version):
            return {}, f"{path} describes {said['name']}_v{said['version']}: a version is not renamed"
        if place := _misfit(said, SHAPE):
            return {}, f"{path} is not whole: {place} is missing or is not what it should be"
        pth = said["files"]["pth"]
        if not (0 < pth["bytes"] <= BIGGEST and len(pth["sha256"]) == 64):
            return {}, f"{path} does not say how long its weights are and what their sha256 is"
        return said, ""
    except FileNotFoundError:
        return {}, f"{path} is gone: weights without a description are not loaded"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {}, f"{path} is torn ({type(error).__name__}: {error})"


def _text(path: Path) -> str:
    """A file of text, where it is a file and not endless."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode) or state.st_size > BIGGEST_TEXT:
        raise ValueError(f"it is no file of at most {BIGGEST_TEXT:,} bytes")
    return path.read_text(encoding="utf-8")


def _misfit(found: Any, shape: Any) -> str:
    """The first place where a description is not of this shape; '' where it is."""
    if not isinstance(shape, Mapping):
        fits = isinstance(found, shape) and not (isinstance(found, bool) and shape is not bool)
        return "" if fits else "it"
    if shape is SPAN or "0" in shape:
        found = {str(at): one for at, one in enumerate(found)} if isinstance(found, list) else None
    if not isinstance(found, Mapping):
        return "it"
    for asked, kind in shape.items():
        key = asked.removesuffix("?")
        if key != asked and key not in found:
            continue
        if place := _misfit(found.get(key), kind):
            return key if place == "it" else f"{key}.{place}"
    return ""


def _before(book: Mapping[str, Any], alias: str, name: str) -> int | None:
    """What an alias meant before its last change; None where it meant nothing."""
    moves = [h for h in book["history"] if h["alias"] == alias and h["name"] == name]
    return moves[-1]["before"] if moves else None


def _book(found: Mapping[str, Any]) -> dict[str, Any]:
    """The registry's parts, each what it should be; ValueError names the one that is not."""
    aliases, retired, history = found["aliases"], found["retired"], found["history"]
    if not all(type(version) is int for of in aliases.values() for version in of.values()):
        raise ValueError("an alias must mean a version's number")
    if not all(type(version) is int for of in retired.values() for version in of):
        raise ValueError("what is retired must be versions' numbers")
    if type(history) is not list or not all(set(HISTORY) <= set(line) for line in history):
        raise ValueError(f"each line of the history must have {', '.join(HISTORY)}")
    return {"format": FORMAT, "aliases": aliases, "retired": retired, "history": history}


def _weights(entry: Entry, content: bytes) -> dict[str, Tensor]:
    """The tensors in the file; nothing else in it is ever made."""
    import torch

    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if set(found) != {"format", "state_dict", "arch", "meta_json"} or found["format"] != FORMAT:
            raise ValueError("it is not of a format this program writes")
        if found["arch"] != entry.said["arch"]:
            raise ValueError("its network is another than its description says")
        state: dict[str, Tensor] = found["state_dict"]
        if not all(type(key) is str and isinstance(value, torch.Tensor) for key, value in state.items()):
            raise ValueError("its weights are no named tensors")
        return state
    except Exception as error:  # noqa: BLE001 - whatever is in the file, it is not ours
        first = str(error) if type(error) is ValueError else "it holds more than weights and plain values, or is torn"
        raise ModelDamaged(f"{entry.called} was refused, nothing in it was run: {first}") from None


def _facts(entry: Entry) -> ModelFacts:
    said = entry.said
    try:
        from learning import features

        told = said["features"]
        return ModelFacts(
            name=entry.name,
            version=entry.version,
            timeframe=told["timeframe"],
            seq_len=int(told["seq_len"]),
            warmup=features.WARMUP + int(told["seq_len"]),
            classes=tuple(said["arch"]["classes"]),
            label=said["label"]["kind"],
            seen_until=_nanos(said["split"]["calib"][1]),
            data_until=_nanos(said["data"]["end"]),
            sha256=said["files"]["pth"]["sha256"],
            market=str(said["data"]["symbols"][0]),
            problem=_problem(said),
        )
    except (KeyError, TypeError, ValueError, IndexError, DeskError) as error:
        raise ModelDamaged(f"the description of {entry.called} is not whole: {type(error).__name__} {error}") from None


def _problem(said: Mapping[str, Any]) -> str:
    """Why a model of this description cannot be asked by this program; '' where it can."""
    from learning.features import NAMES, spec

    told = said["features"]
    now = spec(told["timeframe"], told["seq_len"])
    if told["spec_sha256"] == now["sha256"]:
        return ""
    return (
        f"{said['name']}_v{said['version']} was trained on other features (version {told['spec_version']}, "
        f"{len(told['names'])} of them) than this program makes (version {now['version']}, {len(NAMES)}): train anew"
    )


def _nanos(text: str) -> int:
    return int(pd.Timestamp(text).value)


def _utc(clock: Clock) -> str:
    return clock.now().astimezone(UTC).isoformat(timespec="seconds")


def _known(alias: str) -> None:
    if alias not in ALIASES:
        raise UnknownName.of("alias", alias, ALIASES)


def main(arguments: list[str] | None = None) -> int:
    """0 when it was done, 2 where something asked for is missing or wrong."""
    import argparse

    import settings
    from learning.card import card

    parser = argparse.ArgumentParser(prog="model_manager.py", description="The trained models and which one is asked.")
    parser.add_argument("--out-dir", default="", help="where the models are; MODELS_DIR where it is not given")
    parser.add_argument("--name", default=NAME, help="which family of models")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("list", help="every version, its status and its accuracy beside the majority's")
    what.add_parser("card", help="the model card").add_argument("version")
    point = what.add_parser("point", help="let champion or challenger mean a version")
    point.add_argument("alias", choices=ALIASES)
    point.add_argument("version")
    back = what.add_parser("back", help="let an alias mean what it meant before")
    back.add_argument("alias", choices=ALIASES)
    retire = what.add_parser("retire", help="never load this version again")
    retire.add_argument("version")
    for one in (point, back, retire):
        one.add_argument("--why", default="", help="is kept in the history")
    what.add_parser("compare", help="figures side by side").add_argument("versions", nargs="+")
    asked = parser.parse_args(arguments)
    try:
        folder = Path(asked.out_dir) if asked.out_dir else settings.load().models_dir
        manager, of = ModelManager(folder, SystemClock()), {"name": asked.name}
        if asked.what == "list":
            print("\n".join(_line(entry) for entry in manager.entries(asked.name)) or f"no models in {folder}")
        elif asked.what == "card":
            entry = manager.entry(asked.version, **of)
            print(card(entry.said, entry.status))
        elif asked.what == "point":
            print(_line(manager.point(asked.alias, asked.version, why=asked.why, **of)))
        elif asked.what == "back":
            print(_line(manager.roll_back(asked.alias, why=asked.why, **of)))
        elif asked.what == "retire":
            print(_line(manager.retire(asked.version, why=asked.why, **of)))
        else:
            print(manager.compare(*asked.versions, **of).to_string())
    except (DeskError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _line(entry: Entry) -> str:
    if entry.wrong:
        return f"{entry.called:<18} {entry.status:<11} {entry.wrong}"
    said, test = entry.said, entry.said.get("metrics", {}).get("test", {})
    right = f"{test['acc']:.1%} right, majority {test['majority_acc']:.1%}" if "acc" in test else "never judged"
    about = f"{said['label'].get('kind')} on {said['features'].get('timeframe')}"
    return f"{entry.called:<18} {entry.status:<11} {said['created_utc'][:16]}  {about}: {right}"


if __name__ == "__main__":
    sys.exit(main())
