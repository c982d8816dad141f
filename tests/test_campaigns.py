"""The campaigns in small, and the proof that they can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import candles, stateful
from tests.campaigns.candle_files import judge_files
from tests.campaigns.faulty import Case, cases

SEED = 7


@pytest.fixture(scope="module")
def twenty_thousand() -> list[Case]:
    return list(cases(20_000, SEED, most_rows=600))


def test_every_injected_fault_is_named_and_nothing_sound_is_refused(twenty_thousand: list[Case]) -> None:
    tally = candles.judge(twenty_thousand)

    assert tally.problems == []
    assert tally.sound
    assert tally.candles == 20_000
    assert set(tally.injected) == set(candles.KINDS)


@pytest.mark.parametrize(
    ("drawer", "rule"),
    [*(("_row_rules", name) for name in candles.ROW_RULES), *(("_frame_faults", name) for name in candles.FRAME_RULES)],
)
def test_the_campaign_notices_when_a_rule_is_gone(twenty_thousand: list[Case], drawer: str, rule: str) -> None:
    with candles.dropped(drawer, rule):
        assert not candles.judge(twenty_thousand).sound

    assert candles.judge(twenty_thousand[:4]).sound


def test_a_faulty_file_is_refused_with_its_row_and_a_sound_one_read_to_the_bit() -> None:
    tally = judge_files(cases(20_000, SEED + 1, most_rows=1000, faults=1, whole_days=True))

    assert tally.problems == []
    assert tally.written == tally.right
    assert len(tally.written) > 5


def test_the_evidence_says_what_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "weakened", lambda all_cases: {"NaN": candles.Tally(broken=1)})

    assert candles.run(tmp_path / "candles.md", candles=5_000)

    text = (tmp_path / "candles.md").read_text(encoding="utf-8")
    assert "| NaN | " in text
    assert "**no**" not in text


def test_the_stateful_campaign_tells_what_happened_and_its_seeds(tmp_path: Path) -> None:
    assert stateful.run(tmp_path / "stateful.md", examples=2, steps=3)

    text = (tmp_path / "stateful.md").read_text(encoding="utf-8")
    assert "| turns | " in text
    assert "Seeds " in text
    assert "**Stories that ended badly: 0.**" in text
