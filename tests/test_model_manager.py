"""The model manager: versions are written once, only what was saved is loaded, and nothing in a file is ever run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import model_manager
from domain.clock import ManualClock
from domain.errors import ModelDamaged, ModelError, ModelMissing, UnknownName
from learning.card import card
from learning.network import weights_hash
from model_manager import ModelManager, Shelf
from tests.made_models import about, hours, saved, weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_what_is_saved_is_loaded_again_to_the_bit(folder: Path) -> None:
    manager, entry = saved(folder)
    candles = hours(200)
    one, other = manager.load("v1"), ModelManager(folder, ManualClock()).load("pattern_nn_v1")

    assert sorted(p.name for p in folder.iterdir()) == ["pattern_nn_v1.json", "pattern_nn_v1.pth"]
    assert weights_hash({k: v.float() for k, v in one.net.state_dict().items()}) == weights_hash(weights())
    assert np.array_equal(one.predict(candles), other.predict(candles), equal_nan=True)
    assert (entry.called, entry.status, one.facts.classes) == ("pattern_nn_v1", "candidate", ("down", "up"))


def test_each_save_is_a_version_of_its_own_and_none_is_written_over(folder: Path) -> None:
    manager, _ = saved(folder)
    first = (folder / "pattern_nn_v1.pth").read_bytes()
    saved(folder, seed=1)
    manager.save(weights(2), about(), version=7)
    manager.save(weights(3), about(), name="other")

    called = [e.called for e in manager.entries()]
    assert called == ["other_v1", "pattern_nn_v1", "pattern_nn_v2", "pattern_nn_v7"]
    assert (folder / "pattern_nn_v1.pth").read_bytes() == first
    assert saved(folder)[1].called == "pattern_nn_v8"
    with pytest.raises(ModelError, match="pattern_nn_v7 is taken: versions are written once"):
        manager.save(weights(2), about(), version=7)


def test_fifty_who_save_at_once_get_fifty_versions_none_of_them_torn(folder: Path) -> None:
    drawn = [weights(seed) for seed in range(50)]
    manager = ModelManager(folder, ManualClock())
    with ThreadPoolExecutor(25) as pool:
        entries = list(pool.map(lambda one: ModelManager(folder, ManualClock()).save(one, about()), drawn))

    assert sorted(e.version for e in entries) == list(range(1, 51))
    for one, entry in zip(drawn, entries, strict=True):
        loaded = manager.load(entry.called)
        assert weights_hash({k: v.float() for k, v in loaded.net.state_dict().items()}) == weights_hash(one)
    assert not [p for p in folder.iterdir() if p.suffix == ".part"]


# What is not loaded


class Evil:
    """Makes a folder when it is unpickled by a loader that runs what it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def resign(folder: Path, content: bytes) -> None:
    """Put other weights in place, and let the description vouch for them."""
    (folder / "pattern_nn_v1.pth").write_bytes(content)
    said = json.loads((folder / "pattern_nn_v1.json").read_text())
    said["files"]["pth"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "pattern_nn_v1.json").write_text(json.dumps(said))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("vouched", [False, True], ids=["bare", "vouched for"])
@pytest.mark.parametrize("by", ["torch", "pickle", "within"])
def test_an_evil_file_is_refused_and_nothing_in_it_is_run(folder: Path, vouched: bool, by: str) -> None:
    manager, _ = saved(folder)
    path, ran = folder / "pattern_nn_v1.pth", folder / "ran"
    whole = torch.load(path, weights_only=True)
    if by == "pickle":
        path.write_bytes(pickle.dumps(Evil(ran)))
    else:
        torch.save({**whole, "format": Evil(ran)} if by == "within" else Evil(ran), path)
    if vouched:
        resign(folder, path.read_bytes())

    with pytest.raises(ModelDamaged, match="nothing in it was run" if vouched else "torn|changed"):
        manager.load("v1")
    assert not ran.exists()


@pytest.mark.parametrize("place", [0, 0.3, 0.7, 1.0])
def test_one_flipped_byte_is_refused_before_torch_sees_it(
    folder: Path, place: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, _ = saved(folder)
    path = folder / "pattern_nn_v1.pth"
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(bytes(content))
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch read it"))

    with pytest.raises(ModelDamaged, match=r"pattern_nn_v1\.pth was changed since it was saved"):
        manager.load("v1")


def test_a_torn_or_missing_file_is_named(folder: Path) -> None:
    manager, _ = saved(folder)
    path = folder / "pattern_nn_v1.pth"
    content = path.read_bytes()
    path.write_bytes(content[:-10])

    with pytest.raises(ModelDamaged, match=rf"pattern_nn_v1\.pth is torn: it has {len(content) - 10:,} bytes"):
        manager.load("v1")
    path.unlink()
    with pytest.raises(ModelDamaged, match=r"pattern_nn_v1\.pth is gone"):
        manager.load("v1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "was never finished"),
        ('{"schema_version": 1, "na', "is torn"),
        ("[]", "is torn"),
        ('{"schema_version": 2}', "has schema 2 and this program knows 1"),
        ('{"schema_version": 1}', "lacks name, version"),
    ],
)
def test_a_description_that_cannot_be_trusted_is_named_and_stops_no_other(folder: Path, text: str, said: str) -> None:
    manager, _ = saved(folder)
    saved(folder)
    (folder / "pattern_nn_v1.json").write_text(text)

    with pytest.raises(ModelDamaged, match=said):
        manager.load("v1")
    assert [e.status for e in manager.entries()] == ["damaged" if text else "unfinished", "candidate"]
    assert manager.load("v2").facts.version == 2
    assert saved(folder)[1].version == 3


def test_a_version_that_was_renamed_is_refused(folder: Path) -> None:
    manager, _ = saved(folder)
    for suffix in ("pth", "json"):
        (folder / f"pattern_nn_v1.{suffix}").rename(folder / f"pattern_nn_v5.{suffix}")

    with pytest.raises(ModelDamaged, match="describes pattern_nn_v1: a version is not renamed"):
        manager.load("v5")


def test_weights_that_do_not_fit_their_description_are_refused(folder: Path) -> None:
    manager, _ = saved(folder)
    path = folder / "pattern_nn_v1.pth"
    whole = torch.load(path, weights_only=True)
    torch.save({**whole, "state_dict": weights(hidden=16)}, path)
    resign(folder, path.read_bytes())
    with pytest.raises(ModelDamaged, match="do not fit"):
        manager.load("v1")

    whole["state_dict"]["head.bias"][0] = float("nan")
    torch.save(whole, path)
    resign(folder, path.read_bytes())
    with pytest.raises(ModelDamaged, match="no numbers"):
        manager.load("v1")


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"metrics": {"test": {"acc": np.float64(0.5)}}}, r"metrics\.test\.acc is a numpy\.float64"),
        ({"metrics": {"test": {"acc": float("nan")}}}, r"metrics\.test\.acc is nan"),
        ({"limits": [Path("x")]}, r"limits\[0\] is a pathlib"),
        ({"lineage": {1: "x"}}, "has the key 1"),
    ],
)
def test_only_plain_values_are_saved(folder: Path, wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(ModelError, match=place):
        saved(folder, **wrong)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "Big", "a.b"])
def test_a_name_cannot_leave_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(ModelError, match="small letters"):
        ModelManager(folder, ManualClock()).save(weights(), about(), name=name)
    with pytest.raises(ModelMissing):
        ModelManager(folder, ManualClock()).load(f"{name}_v1")


# Aliases


def test_the_champion_is_named_replaced_and_brought_back(folder: Path) -> None:
    manager, _ = saved(folder)
    saved(folder, seed=1)

    with pytest.raises(ModelMissing, match="no model is the champion yet: train one"):
        manager.load("champion")
    assert manager.point("champion", "v1").status == "champion"
    manager.point("champion", "v2", why="more right")
    assert manager.load("champion").facts.version == 2
    assert manager.roll_back(why="less right").called == "pattern_nn_v1"
    assert manager.load("champion").facts.version == 1

    history = manager.registry()["history"]
    told = [(h["action"], h["version"], h["before"], h["why"]) for h in history]
    assert told == [("point", 1, None, ""), ("point", 2, 1, "more right"), ("roll back", 1, 2, "less right")]
    with pytest.raises(UnknownName, match="Did you mean 'champion'"):
        manager.point("champian", "v1")
    with pytest.raises(ModelMissing, match="challenger of pattern_nn has no version"):
        manager.roll_back("challenger")


def test_a_damaged_version_does_not_become_champion(folder: Path) -> None:
    manager, _ = saved(folder)
    (folder / "pattern_nn_v1.pth").write_bytes(b"nothing")

    with pytest.raises(ModelDamaged):
        manager.point("champion", "v1")
    assert manager.registry()["aliases"] == {}


def test_a_retired_version_is_not_loaded_and_a_champion_is_not_retired(folder: Path) -> None:
    manager, _ = saved(folder)
    saved(folder)
    manager.point("champion", "v1")
    shelf = Shelf(manager)
    shelf.model("v2")

    with pytest.raises(ModelError, match="pattern_nn_v1 is the champion: point that at another version first"):
        manager.retire("v1")
    assert manager.retire("v2", why="old").status == "retired"
    for load in (manager.load, shelf.model):
        with pytest.raises(ModelError, match="pattern_nn_v2 was retired"):
            load("v2")


def test_a_torn_registry_is_named_and_never_guessed(folder: Path) -> None:
    manager, _ = saved(folder)
    (folder / "registry.json").write_text('{"format": 1, "ali')

    with pytest.raises(ModelDamaged, match=r"registry\.json cannot be read"):
        manager.load("champion")


def test_changes_at_the_same_time_are_all_in_the_history(folder: Path) -> None:
    manager, _ = saved(folder)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: manager.point("champion", "v1", why=str(n)), range(16)))

    assert sorted(int(h["why"]) for h in manager.registry()["history"]) == list(range(16))


def test_the_shelf_loads_a_version_once_and_follows_the_champion(folder: Path) -> None:
    manager, _ = saved(folder)
    saved(folder, seed=1)
    manager.point("champion", "v1")
    shelf = Shelf(manager)
    first = shelf.model("champion")

    assert shelf.model("champion") is first is shelf.model("v1")
    manager.point("champion", "v2")
    assert shelf.model("champion").facts.version == 2
    with pytest.raises(ModelMissing, match="there is no model pattern_nn_v9"):
        shelf.model("v9")
    with pytest.raises(ModelMissing, match="asked for by champion, challenger, v3"):
        shelf.model("the good one")


# Reading


def test_versions_are_compared_figure_by_figure(folder: Path) -> None:
    manager, _ = saved(folder)
    saved(folder, metrics={})
    found = manager.compare("v1", "v2")

    assert found.loc["acc", "pattern_nn_v1"] == 0.51
    assert np.isnan(found.loc["acc", "pattern_nn_v2"])
    assert found.loc["status"].tolist() == ["candidate", "candidate"]


def test_the_card_says_what_was_asked_and_puts_the_majority_first(folder: Path) -> None:
    _, entry = saved(folder)
    text = card(entry.said, entry.status)

    assert "# pattern_nn v1 (candidate)" in text
    assert "is the close 1 bar on above the next open" in text
    assert text.index("| majority | 100 | 50.0%") < text.index("| this model | 100 | 51.0% (41.0% to 61.0%)")
    assert entry.said["files"]["pth"]["sha256"] in text
    assert "It was drawn by lot." in text


def test_the_command_line_lists_points_and_refuses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(folder)
    at = ["--out-dir", str(folder)]

    assert model_manager.main([*at, "point", "champion", "v1", "--why", "first"]) == 0
    assert model_manager.main([*at, "list"]) == 0
    assert "pattern_nn_v1      champion" in (out := capsys.readouterr().out)
    assert "51.0% right, majority 52.0%" in out
    assert model_manager.main([*at, "card", "champion"]) == 0
    assert "(champion)" in capsys.readouterr().out
    assert model_manager.main([*at, "compare", "v1"]) == 0
    assert model_manager.main([*at, "back", "champion"]) == 2
    assert "has no version before" in capsys.readouterr().err
    assert model_manager.main([*at, "retire", "v3"]) == 2
    assert "there is no model pattern_nn_v3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("created_utc", 3),
        ("arch", None),
        ("features", []),
        ("scaler", "x"),
        ("label", {}),
        ("data", {}),
        ("split", {"calib": ["2024"]}),
        ("metrics", "x"),
        ("limits", None),
        ("leaks", "x"),
    ],
)
def test_a_description_of_another_shape_is_named_and_the_others_are_listed(
    folder: Path, place: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    manager, _ = saved(folder)
    saved(folder, seed=1)
    path = folder / "pattern_nn_v1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {place: value}))

    with pytest.raises(ModelDamaged, match=f"is not whole: {place}"):
        manager.load("v1")
    assert [entry.status for entry in manager.entries()] == ["damaged", "candidate"]
    assert model_manager.main(["--out-dir", str(folder), "list"]) == 0
    assert "pattern_nn_v2" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version": 1}', "[1]"])
def test_a_description_that_cannot_be_read_is_damaged(folder: Path, text: str) -> None:
    manager, _ = saved(folder)
    (folder / "pattern_nn_v1.json").write_text(text)

    [entry] = manager.entries()
    assert entry.status == "damaged"


def test_a_description_without_an_end_is_not_read(folder: Path) -> None:
    manager, _ = saved(folder)
    (folder / "pattern_nn_v1.json").unlink()
    (folder / "pattern_nn_v1.json").symlink_to("/dev/zero")

    assert "it is no file of at most" in manager.entries()[0].wrong


@pytest.mark.parametrize(
    "parts",
    [
        {"aliases": []},
        {"aliases": {"pattern_nn": {"champion": "x"}}},
        {"retired": {"pattern_nn": 5}},
        {"history": [{}]},
        {"history": {}},
    ],
)
def test_a_registry_of_another_shape_is_damaged_whoever_asks(folder: Path, parts: dict[str, Any]) -> None:
    manager, _ = saved(folder)
    whole = {"format": 1, "aliases": {}, "retired": {}, "history": []}
    (folder / "registry.json").write_text(json.dumps(whole | parts))

    for ask in (manager.entries, lambda: manager.load("champion"), manager.roll_back):
        with pytest.raises(ModelDamaged, match="bring back a copy, or delete it"):
            ask()


def test_a_refusal_gives_no_advice_how_to_read_the_file_after_all(folder: Path) -> None:
    manager, _ = saved(folder)
    content = pickle.dumps({"format": 1, "x": print}, protocol=2)
    (folder / "pattern_nn_v1.pth").write_bytes(content)
    said = json.loads((folder / "pattern_nn_v1.json").read_text())
    said["files"]["pth"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "pattern_nn_v1.json").write_text(json.dumps(said))

    with pytest.raises(ModelDamaged) as refused:
        manager.load("v1")
    assert str(refused.value) == (
        "pattern_nn_v1 was refused, nothing in it was run: it holds more than weights and plain values, or is torn"
    )


def test_a_temperature_without_end_is_refused(folder: Path) -> None:
    manager, _ = saved(folder)
    path = folder / "pattern_nn_v1.json"
    path.write_text(path.read_text().replace('"T": 0.2', '"T": Infinity'))

    with pytest.raises(ModelDamaged, match="a temperature that are no numbers"):
        manager.load("v1")


def test_a_version_that_no_file_name_can_hold_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(ModelError, match="version must be at most 999,999,999"):
        ModelManager(folder, ManualClock()).save(weights(), about(), version=10**9)
    assert not list(folder.glob("*.pth"))


def test_what_was_decided_on_an_older_registry_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock another process may have been faster."""
    manager, _ = saved(folder)
    for seed in (1, 2):
        saved(folder, seed=seed)
    manager.point("champion", "v1")
    manager.point("champion", "v2")
    load, other = ModelManager.load, ModelManager(folder, ManualClock())

    def meanwhile(change: Callable[[], Any]) -> None:
        def first(self: ModelManager, asked: str, name: str = "pattern_nn") -> Any:
            monkeypatch.setattr(ModelManager, "load", load)
            change()
            return load(self, asked, name)

        monkeypatch.setattr(ModelManager, "load", first)

    meanwhile(lambda: other.point("champion", "v3"))
    with pytest.raises(ModelError, match="was changed meanwhile: look again before you roll it back"):
        manager.roll_back()
    assert manager.entry("champion").version == 3
    other.retire("v1")
    with pytest.raises(ModelError, match="pattern_nn_v1 was retired"):
        manager._change("point", "champion", "pattern_nn", 1, "")
