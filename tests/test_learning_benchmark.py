"""What the benchmark of the training sets side by side is the same work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.learning import SEQ_LEN, Items, plain_training
from learning.features import NAMES
from learning.network import threads
from learning.training import Lookup, Options, train
from learning.windows import gather
from tests.test_pattern_nn import Slices, Windows

CHANCE = np.random.default_rng(3)
X = CHANCE.normal(size=(1200, len(NAMES))).astype(np.float32)
ENDS = np.arange(SEQ_LEN - 1, len(X))
Y = (X[ENDS, 0] > 0).astype(np.int64)  # plain to see, so that a loop that learns nothing is found out


def test_both_sides_cut_the_same_windows() -> None:
    picked = CHANCE.permutation(ENDS)[:50]
    items = Items(X, picked, Y)

    windows = gather(X, picked, SEQ_LEN)

    assert np.array_equal(np.stack([items[at][0] for at in range(50)]), windows)
    assert np.array_equal(Lookup(torch.from_numpy(X), SEQ_LEN)(torch.from_numpy(picked)).numpy(), windows)


def test_the_plain_loop_learns_what_ours_does() -> None:
    options = Options(epochs=4, seq_len=SEQ_LEN, lr=1e-2, batch_size=64, hidden=8, device="cpu", patience=100)
    slices = Slices(*np.split(np.arange(len(ENDS)), [800, 1000, 1100]))
    ours = train(Windows(X, ENDS, Y, SEQ_LEN), slices, options)

    with threads(1), torch.random.fork_rng(devices=[]):
        net, seconds = plain_training(Items(ours.scaler(X), ENDS[:800], Y[:800]), options)

    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(gather(ours.scaler(X), ENDS[800:1000], SEQ_LEN)))
    theirs = float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(Y[800:1000])))
    assert max(theirs, ours.val_loss) < 0.4
    assert theirs == pytest.approx(ours.val_loss, abs=0.1)
    assert seconds > 0
