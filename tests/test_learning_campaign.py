"""The campaign of the learning, without its trainings: what it says of what it found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.campaigns import learning
from tests.campaigns.learning import Came, Found

SKILL = {"n": 10_000, "low": 0.49, "high": 0.51, "base": 0.5, "sure": 0.0, "ece": 0.01, "epochs": 9, "seconds": 1.0}
NOISE = Found(kind="noise", q=0.5, seed=0, acc=0.5, plain=0.5, **SKILL)
REVERSAL = dataclasses.replace(NOISE, kind="reversal", q=0.6, acc=0.598)
XOR = dataclasses.replace(NOISE, kind="xor", q=0.75, acc=0.745)
SOUND = Came([NOISE], [[REVERSAL], [XOR]], kills=20, met=19, wrong=[], seconds=300.0)


def test_the_evidence_says_that_every_goal_is_met() -> None:
    assert all(enough for *_, enough in SOUND.goals())
    assert "**Every goal is met.**" in learning._text(SOUND)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"noise": [dataclasses.replace(NOISE, acc=0.53, low=0.52)]}, "noise: seeds that show no skill"),
        ({"noise": [dataclasses.replace(NOISE, sure=0.002)]}, "noise: answers claimed above 70 %, the worst seed"),
        ({"noise": [dataclasses.replace(NOISE, ece=0.021)]}, "noise: calibration error (ECE), the middle seed"),
        ({"planted": [[dataclasses.replace(REVERSAL, acc=0.594)]]}, "reversal: recovered, the middle seed"),
        ({"planted": [[dataclasses.replace(XOR, acc=0.73)]]}, "xor: recovered, the middle seed"),
        ({"planted": [[dataclasses.replace(XOR, plain=0.56)]]}, "xor: recovered by a straight line, the best seed"),
        ({"wrong": ["v7: torn"]}, "torn files, other curves, lost or mixed versions"),
    ],
)
def test_a_missed_goal_is_named_in_the_evidence(changed: dict[str, object], words: str) -> None:
    came = dataclasses.replace(SOUND, **changed)  # type: ignore[arg-type]

    assert [name for name, *_, enough in came.goals() if not enough] == [words]
    assert f"**Not met: {words}.**" in learning._text(came)


def test_a_model_that_was_changed_after_its_save_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, in which the third save writes over the second's weights."""
    monkeypatch.setattr(learning, "ProcessPoolExecutor", _Here)
    monkeypatch.setattr(learning, "_save", lambda folder, seed: _spoiling(folder, seed))

    [wrong] = learning.savers(3, tmp_path)

    assert wrong.startswith("v2: ")


REAL = learning._save


def _spoiling(folder: Path, seed: int) -> int:
    version = REAL(folder, seed)
    if seed == 2:
        (folder / "pattern_nn_v2.pth").write_bytes((folder / "pattern_nn_v3.pth").read_bytes())
    return version


class _Here:
    """A pool that does the work in this process."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    map = staticmethod(map)
