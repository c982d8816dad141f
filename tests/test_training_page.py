"""The training page: a form becomes one job, whatever becomes of the job is shown, and models are named and retired."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
import performance_utils as pu
from research.jobs import Job, Jobs
from tests import made_models
from tests.conftest import ROOT
from ui import jobs, model_card, training_form, training_page

PAGE = str(ROOT / "pages" / "model_training.py")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A newcomer's machine, and nobody who works on jobs: what becomes of them is each test's to say."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Jobs, "_hire", lambda *_: None)
    bootstrap.people.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield tmp_path
    bootstrap.people.cache_clear()
    pu.use_desk(None)


def opened(**query: str) -> AppTest:
    at = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return ran(at)


def ran(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def pressed(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click()
    return ran(at)


def asked() -> list[Job]:
    return jobs.jobs().latest("train", 50)


def begun() -> Job:
    """A training that somebody asked for and that runs."""
    told = {"training": training_form.first_training(), "symbols": ["AAPL"], "timeframe": "1h", "source": "simulated"}
    where = {"start": "2021-11-19", "end": "2026-11-19", "out_dir": str(Path(os.environ["MODELS_DIR"]).absolute())}
    jobs.jobs().start("train", told | where)
    return jobs.jobs().claim("w", "train", os.getpid())


def over(state: str, error: str = "") -> Job:
    """A training that somebody asked for and that ended so."""
    taken = begun()
    jobs.jobs().finish("w", taken.id, state, error=error)
    return jobs.jobs().get(taken.id)


def told(job: Job, *losses: float) -> None:
    """The events that a training has written so far, a line half written at the end."""
    lines: list[dict[str, Any]] = [{"event": "begin", "windows": 1000}]
    for epoch, loss in enumerate(losses, 1):
        lines.append({"event": "step", "epoch": epoch, "share": 0.1, "rate": 900.0, "left_s": 9.0})
        lines.append({"event": "epoch", "epoch": epoch, "train_loss": loss, "val_loss": loss, "rate": 800.0})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (job.folder / "events.jsonl").write_text(text + '{"event": "ste')


def texts(at: AppTest) -> str:
    parts = (at.markdown, at.caption, at.info, at.warning, at.error, at.success)
    return "\n".join(str(one.value).replace("\\", "") for part in parts for one in part)


# Train


def test_the_form_becomes_one_job_that_stands_in_the_address() -> None:
    at = opened()
    at.number_input(key="tr_1_o_epochs").set_value(3)
    at.number_input(key="tr_1_l_horizon").set_value(7)
    ran(at)

    pressed(at, "tr_go")

    [job] = asked()
    assert at.query_params["job"] == job.id
    assert job.asked["training"]["options"]["epochs"] == 3
    assert job.asked["training"]["label"]["horizon"] == 7
    assert (job.asked["source"], job.asked["symbols"]) == ("simulated", ["AAPL", "NVDA"])
    assert (job.asked["start"], job.asked["end"]) == ("2021-11-19", "2026-11-19")


def test_the_same_training_asked_twice_is_one_job() -> None:
    at = pressed(opened(), "tr_go")
    pressed(at, "tr_go")

    assert len(asked()) == 1


def test_a_value_out_of_its_range_is_said_and_starts_nothing() -> None:
    at = opened()
    at.number_input(key="tr_1_o_seq_len").set_value(1)
    ran(at)

    pressed(at, "tr_go")

    assert asked() == []
    assert "seq_len must be at least 2" in at.error[0].value.replace("\\", "")
    assert at.number_input(key="tr_1_o_seq_len").value == 1


def test_each_label_has_its_own_fields() -> None:
    at = opened()
    at.segmented_control(key="tr_1_l_kind").set_value("pattern")
    ran(at)

    assert at.multiselect(key="tr_1_l_patterns").value[0] == "Hammer"
    assert "no forecast" in texts(at)
    assert "tr_1_l_pt" not in {one.key for one in at.number_input}


def test_made_up_prices_are_said_before_anything_is_trained() -> None:
    assert "SIMULATED" in opened().warning[0].value


def test_a_running_training_shows_its_speed_and_its_best_epoch() -> None:
    job = begun()
    told(job, 0.7, 0.6, 0.65)
    jobs.jobs().alive("w", job.id, 0.4, "epoch 4 of 30")

    at = opened(job=job.id)

    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Epoch"] == "3 of 30"
    assert (shown["Best epoch"], shown["Windows a second"]) == ("2", "800")
    assert "Epoch 4 of 30" in at.get("progress")[0].proto.text

    pressed(at, f"job_cancel_{job.id}")
    assert jobs.jobs().get(job.id).cancel


def test_a_cancelled_training_goes_on_from_its_checkpoint() -> None:
    job = over("cancelled")
    told(job, 0.7, 0.6)
    (job.folder / "checkpoint.pt").write_bytes(b"kept")
    at = opened(job=job.id)
    assert "What it learned in 2 epochs is kept" in at.info[0].value

    pressed(at, "tr_resume")

    assert asked()[0].asked == job.asked | {"resume": str(job.folder)}


def test_a_training_that_was_lost_says_so_and_can_be_started_anew() -> None:
    job = over("lost", "Its process (7) is gone. There is no answer: ask again.")
    at = opened(job=job.id)
    assert "It was lost" in at.error[0].value
    assert "tr_resume" not in {one.key for one in at.button}

    pressed(at, "tr_anew")

    assert asked()[0].asked == job.asked


def test_a_loss_that_is_no_number_offers_a_lower_learning_rate() -> None:
    job = over("failed", "the train loss is not a number in epoch 2: lower --lr (it is 0.001)")
    at = opened(job=job.id)

    pressed(at, "tr_slower")

    assert asked()[0].asked["training"]["options"]["lr"] == 0.0001


def test_a_training_without_candles_says_how_to_get_some() -> None:
    at = opened(job=over("failed", "AAPL 1h: no candles from 2021-11-18 to 2026-11-19").id)

    assert "Settings, Your files" in texts(at)


def test_an_address_of_nothing_is_said() -> None:
    assert "not there any more" in opened(job="20200101-000000-00000000").warning[0].value


def test_a_broken_library_is_said_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_page, "LIBRARIES", ("torch_that_is_not_there",))

    at = opened()

    assert "pip install" in at.error[0].value
    assert "torch_that_is_not_there" in texts(at)


def test_a_trained_model_tells_recognising_from_forecasting(home: Path) -> None:
    _, entry = made_models.saved(home / "models")
    job = over("done")
    (job.folder / "result.json").write_text(json.dumps({"called": entry.called, "name": entry.name, "version": 1}))

    at = opened(job=job.id)

    assert "No better than the majority" in texts(at)
    assert "It forecasts: is the close 1 bar on above the next open? It was right in 51.0%" in texts(at)
    assert "always naming the commonest class gets 52.0%. So it has shown nothing." in texts(at)


def test_the_sentence_of_a_recogniser_says_that_it_does_not_forecast() -> None:
    said = made_models.about(kind="pattern") | {"name": "pattern_nn", "version": 1}
    said["metrics"]["test"] |= {"overlaps_majority": False}

    assert model_card.plain_sentence(said).startswith("It recognises which of 6 candlestick patterns")
    assert model_card.plain_sentence(said).endswith("it can read, and it does not forecast.")
    assert model_card.badge_of(said) == "recognises"


def test_the_sentinels_word_and_the_money_stand_where_they_were_kept(home: Path) -> None:
    metrics = made_models.about()["metrics"]
    metrics["backtest_net"] = {"said": "Net +1.0% in 3 trades.", "net_return": 0.01, "hold_return": 0.02, "trades": 3}
    metrics["equity"] = {"at": ["2024-01-01", "2024-01-02"], "model": [100.0, 101.0], "held": [100.0, 102.0]}
    leaks = {"clean": False, "leaks": ["close_next tells the answer alone"], "asked": ["one column alone"]}
    made_models.saved(home / "models", metrics=metrics, leaks=leaks)

    at = opened(way="Load")

    assert "close_next tells the answer alone" in texts(at)
    money = next(one.value for one in at.dataframe if "Held" in one.value)
    assert money.iloc[0].tolist() == ["Net return", "+1.0%", "+2.0%"]
    assert len([one for one in at.get("bidi_component") if one.proto.component_name == "desk_figure"]) == 3


# Load


def test_without_models_the_way_to_one_is_shown() -> None:
    at = opened(way="Load")
    assert "No models yet" in texts(at)

    pressed(at, "shelf_train")

    assert at.segmented_control(key="way").value == "Train"


def test_versions_stand_with_their_state_and_what_is_wrong_with_them(home: Path) -> None:
    for seed in range(3):
        made_models.saved(home / "models", seed)
    (home / "models" / "pattern_nn_v1.pth").write_bytes(b"torn")
    (home / "models" / "pattern_nn_v2.json").write_text("")

    table = opened(way="Load").dataframe[0].value

    assert list(table["Version"]) == ["pattern_nn_v3", "pattern_nn_v2", "pattern_nn_v1"]
    assert list(table["File"]) == ["✔ as saved", "✖ unfinished", f"✖ torn: 4 of {_bytes(home, 1):,} bytes"]


def _bytes(home: Path, version: int) -> int:
    return int(json.loads((home / "models" / f"pattern_nn_v{version}.json").read_text())["files"]["pth"]["bytes"])


def test_a_champion_is_named_once_with_a_reason_and_rolled_back(home: Path) -> None:
    manager, _ = made_models.saved(home / "models")
    made_models.saved(home / "models", 1)
    at = opened(way="Load", version="pattern_nn_v1")
    named(at, "shelf_point_champion", "the first one")
    at.selectbox(key="version").set_value("pattern_nn_v2")
    ran(at)
    named(at, "shelf_point_champion", "the second one")

    named(at, "shelf_back_champion", "the first was better")

    history = manager.registry()["history"]
    assert [(line["action"], line["version"], line["why"]) for line in history] == [
        ("point", 1, "the first one"),
        ("point", 2, "the second one"),
        ("roll back", 1, "the first was better"),
    ]
    assert "★ champion: pattern_nn_v1" in texts(at)


def named(at: AppTest, button: str, why: str) -> None:
    """Press a button of the shelf, give the reason, confirm."""
    pressed(at, button)
    [reason] = [one for one in at.text_input if str(one.key).startswith("shelf_why_")]
    reason.set_value(why)
    [confirm] = [one for one in at.button if str(one.key).startswith("shelf_do_")]
    confirm.click()
    ran(at)


def test_a_version_is_retired_and_never_named_again(home: Path) -> None:
    manager, _ = made_models.saved(home / "models")
    at = opened(way="Load")

    named(at, "shelf_retire", "")

    assert manager.entry("v1").status == "retired"
    assert at.button(key="shelf_point_champion").disabled


def test_two_that_were_tested_on_other_questions_are_not_compared_in_silence(home: Path) -> None:
    made_models.saved(home / "models")
    made_models.saved(home / "models", 1, kind="triple_barrier")
    at = opened(way="Load", version="pattern_nn_v1")
    at.selectbox(key="beside").set_value("pattern_nn_v2")
    ran(at)

    assert "They differ in label" in texts(at)
