"""ui/training_charts.py: what the figures of a training show."""

from __future__ import annotations

from ui import training_charts as charts

EPOCHS = [
    {"epoch": 1, "train_loss": 0.70, "val_loss": 0.69},
    {"epoch": 2, "train_loss": 0.66, "val_loss": 0.68},
    {"epoch": 3, "train_loss": 0.60, "val_loss": 0.71},
]


def trace(figure, name: str):
    [found] = [one for one in figure.data if one.name == name]
    return found


def test_the_losses_of_every_epoch_and_the_one_that_is_kept() -> None:
    figure = charts.losses(EPOCHS, best=2)

    assert list(trace(figure, "learned from").y) == [0.70, 0.66, 0.60]
    assert list(trace(figure, "validation").y) == [0.69, 0.68, 0.71]
    kept = trace(figure, "kept: epoch 2")
    assert (kept.x, kept.y) == ((2,), (0.68,))


def test_the_axis_leaves_room_for_what_comes_but_never_squeezes_the_curve() -> None:
    assert charts.losses(EPOCHS, planned=10).layout.xaxis.range == (0.6, 10.4)
    assert charts.losses(EPOCHS, planned=900).layout.xaxis.range == (0.6, 12.4)
    assert charts.losses(EPOCHS).layout.xaxis.range == (0.6, 3.4)


def test_a_single_epoch_is_already_a_curve() -> None:
    figure = charts.losses(EPOCHS[:1], best=1, planned=30)

    assert list(trace(figure, "validation").x) == [1]


def test_reliability_says_what_was_claimed_and_what_happened() -> None:
    rows = [{"n": 30, "claimed": 0.4, "happened": 0.45}, {"n": 0, "claimed": 0.5, "happened": 0.5}]
    rows += [{"n": 120, "claimed": 0.7, "happened": 0.6}]

    model = trace(charts.reliability({"reliability": rows}), "this model")

    assert list(model.x) == [0.4, 0.7]
    assert list(model.y) == [0.45, 0.6]
    assert model.marker.size == (14.0, 22.0)


def test_each_row_of_a_confusion_matrix_sums_to_the_whole() -> None:
    [heat] = charts.confusion([[30, 10], [0, 0]], ["down", "up"]).data

    assert [list(row) for row in heat.z] == [[0.75, 0.25], [0.0, 0.0]]
    assert heat.text[0][0] == "75%<br>30"
    assert [list(row) for row in heat.customdata] == [[30, 10], [0, 0]]


def test_the_line_of_the_majority_stands_where_it_got() -> None:
    rows = {
        "majority": {"acc": 0.5, "acc_ci95": [0.4, 0.6], "majority_acc": 0.52},
        "this model": {"acc": 0.6, "acc_ci95": [0.55, 0.64], "majority_acc": 0.52},
    }

    figure = charts.beside(rows)

    assert figure.layout.shapes[0].x0 == 0.52
    assert [round(v, 3) for v in figure.data[0].error_x.arrayminus] == [0.1, 0.05]
    assert [round(v, 3) for v in figure.data[0].error_x.array] == [0.1, 0.04]


def test_equity_stands_beside_buying_and_holding() -> None:
    figure = charts.equity({"at": ["2026-01-01", "2026-01-02"], "model": [100.0, 101.0], "held": [100.0, 99.0]})

    assert list(trace(figure, "this model, after costs").y) == [100.0, 101.0]
    assert list(trace(figure, "buying and holding").y) == [100.0, 99.0]


def test_made_up_prices_are_written_across_every_figure() -> None:
    figures = [
        charts.losses(EPOCHS, mark=charts.SIMULATED),
        charts.reliability({}, charts.SIMULATED),
        charts.confusion([[1, 0], [0, 1]], ["down", "up"], charts.SIMULATED),
        charts.equity({"at": [], "model": [], "held": []}, charts.SIMULATED),
    ]

    assert [figure.layout.annotations[0].text for figure in figures] == ["SIMULATED"] * 4
    assert not charts.losses(EPOCHS).layout.annotations
