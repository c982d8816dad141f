"""The crash campaign in small: engines are killed where it hurts, and nothing is doubled, lost or left naked."""

from __future__ import annotations

import pytest

from tests.campaigns import crashes
from tests.faults.points import points
from tests.faults.variants import VARIANTS

pytestmark = pytest.mark.xdist_group("processes")  # the runs are made once
FEW = 5  # `make prove` makes a thousand


@pytest.fixture(scope="module")
def few() -> crashes.Tally:
    return crashes.runs(range(FEW))


def test_whatever_dies_the_broker_and_the_ledger_tell_the_same_story(few: crashes.Tally) -> None:
    assert few.problems == []
    assert few.runs == FEW


def test_engines_did_die_and_orders_did_reach_the_broker(few: crashes.Tally) -> None:
    assert few.kills.total() >= FEW
    assert few.orders > FEW
    assert few.faults.total() > 0


def test_every_named_place_is_known_to_the_campaign() -> None:
    assert {"after_intent", "after_sending", "reply_before_commit", "mid_fill_tx", "bytes_sent"}.issubset(points())
    assert (crashes.ONCE | crashes.OFTEN).issubset(points())


def test_the_evidence_says_what_was_counted(few: crashes.Tally) -> None:
    caught = crashes.Tally(runs=3, violated=1, problems=["seed 1: I1: twice"])

    text = crashes.report(few, dict.fromkeys(VARIANTS, caught))

    assert f"{FEW} runs" in text
    assert "**Runs with a violation: 0.**" in text
    assert text.count("| yes | 3 | seed 1: I1: twice |") == len(VARIANTS)
