"""The network, its scaler and its temperature: what they find where there is something, and what they never touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch

from learning.calibration import log_loss, softmax, temperature
from learning.network import BACKBONES, PatternNN, weights_hash
from learning.scaler import Scaler, covered
from learning.training import Options, train

Ints = npt.NDArray[np.int64]


@dataclass
class Windows:
    X: npt.NDArray[np.float32]
    ends: Ints
    y: Ints
    seq_len: int


@dataclass
class Slices:
    train: Ints
    val: Ints
    calib: Ints
    test: Ints


def planted(rule: str, q: float, rows: int, seq_len: int = 4, seed: int = 0) -> tuple[Windows, Slices, Ints]:
    """A row a bar with its sign and two columns of noise; the answer follows the rule with probability q. The third
    value is what the rule says of each window."""
    chance = np.random.default_rng(seed)
    sign = np.where(chance.random(rows) < 0.5, 1.0, -1.0)
    X = np.column_stack([sign, chance.normal(size=(rows, 2))]).astype(np.float32)
    ends = np.arange(seq_len - 1, rows, dtype=np.int64)
    says = sign[ends] if rule == "linear" else sign[ends] * sign[ends - 2]
    right = np.where(chance.random(len(ends)) < q, says, -says)
    at = np.split(np.arange(len(ends)), (np.array([0.6, 0.7, 0.8]) * len(ends)).astype(int))
    return Windows(X, ends, (right > 0).astype(np.int64), seq_len), Slices(*at), (says > 0).astype(np.int64)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_window_becomes_a_logit_a_class_and_the_net_can_be_built_again(backbone: str) -> None:
    net = PatternNN(5, hidden=8, layers=2, n_classes=3, dropout=0.1, backbone=backbone)
    other = PatternNN.of(net.arch())
    other.load_state_dict(net.state_dict())
    windows = torch.randn(7, 4, 5)

    assert net(windows).shape == (7, 3)
    assert torch.equal(net.eval()(windows), other.eval()(windows))
    assert weights_hash(net.state_dict()) == weights_hash(other.state_dict())


def test_the_default_network_has_the_size_that_the_documents_name() -> None:
    assert PatternNN(8).size == 19_202


@pytest.mark.parametrize("wrong", [{"backbone": "mlp"}, {"hidden": 0}, {"n_classes": 1}, {"dropout": 1.0}])
def test_a_network_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PatternNN(5, **wrong)  # type: ignore[arg-type]


def test_one_changed_bit_changes_the_hash() -> None:
    state = PatternNN(3, hidden=4).state_dict()
    before = weights_hash(state)
    state["head.bias"] = torch.nextafter(state["head.bias"], torch.tensor(float("inf")))

    assert weights_hash(state) != before


@pytest.mark.parametrize(("rule", "q", "rows", "epochs"), [("linear", 0.60, 8000, 6), ("xor", 0.75, 8000, 10)])
def test_what_is_planted_is_found(rule: str, q: float, rows: int, epochs: int) -> None:
    """Told by how often it says what the rule says: the answers' own noise does not blur that."""
    flat, split, says = planted(rule, q, rows)
    options = Options(epochs=epochs, seq_len=4, hidden=16, lr=1e-2, batch_size=128, dropout=0.0, device="cpu")
    trained = train(flat, split, options)
    p = trained.probabilities(flat.X, flat.ends[split.test])
    agreed = float((p.argmax(axis=1) == says[split.test]).mean())
    found = p[np.arange(len(p)), says[split.test]].mean()

    recovered = ((q * agreed + (1 - q) * (1 - agreed)) - 0.5) / (q - 0.5)
    assert recovered >= 0.95
    assert abs(found - q) < 0.04  # and it is as sure as it may be


def test_in_noise_nothing_is_found_and_nothing_is_claimed() -> None:
    flat, split, _ = planted("linear", 0.5, 8000)
    trained = train(flat, split, Options(epochs=6, seq_len=4, hidden=16, lr=1e-2, batch_size=128, device="cpu"))
    p = trained.probabilities(flat.X, flat.ends[split.test])
    right = float((p.argmax(axis=1) == flat.y[split.test]).mean())

    assert abs(right - 0.5) < 3.3 * np.sqrt(0.25 / len(p))
    assert (p.max(axis=1) > 0.7).mean() <= 0.001


# Scale


def test_the_scaler_knows_the_rows_of_the_train_windows_and_no_others() -> None:
    X = np.arange(40, dtype=np.float32).reshape(20, 2)
    ends = np.array([3, 4, 9])

    assert np.flatnonzero(covered(20, ends, 3)).tolist() == [1, 2, 3, 4, 7, 8, 9]
    scaler = Scaler.fit(X, ends, 3)
    assert scaler.mean == pytest.approx(X[[1, 2, 3, 4, 7, 8, 9]].mean(axis=0))
    X[10:] = 1e6
    X[0] = X[5] = X[6] = np.nan
    assert Scaler.fit(X, ends, 3) == scaler


def test_a_scaled_value_is_clipped_and_a_feature_that_stands_still_is_left() -> None:
    X = np.array([[0.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    scaler = Scaler.fit(X, np.array([1]), 2)

    assert scaler(np.array([[3.0, 5.0], [900.0, 7.0]], dtype=np.float32)).tolist() == [[2.0, 0.0], [10.0, 2.0]]
    assert Scaler.of(scaler.to_dict()) == scaler
    with pytest.raises(ValueError, match="kind must be 'standard'"):
        Scaler.of({"kind": "robust"})


# Temperature


def test_the_temperature_is_the_one_of_the_least_log_loss() -> None:
    chance = np.random.default_rng(5)
    logits = chance.normal(size=(4000, 3))
    p = softmax(logits)
    y = np.array([chance.choice(3, p=row) for row in p])
    grid = np.linspace(0.3, 6.0, 572)
    best = grid[int(np.argmin([log_loss(softmax(3.0 * logits / t), y) for t in grid]))]

    assert temperature(3.0 * logits, y) == pytest.approx(best, abs=0.011)
    assert temperature(3.0 * logits, y) == pytest.approx(3.0, rel=0.1)


def test_a_temperature_without_rows_changes_nothing_and_one_without_knowledge_takes_all_confidence() -> None:
    chance = np.random.default_rng(6)
    logits, y = chance.normal(size=(4000, 2)) * 5, chance.integers(0, 2, 4000)

    assert temperature(logits[:0], y[:0]) == 1.0
    assert softmax(logits / temperature(logits, y)).max() < 0.7
