"""The network: windows of scaled features in, a logit a class out.

    net = PatternNN(n_features=12, hidden=64, n_classes=2)
    net(torch.zeros(32, 10, 12)).shape      # (32, 2)

It knows bars and not symbols: an embedding of the symbol would let it learn by heart which share rose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

BACKBONES = {"lstm": nn.LSTM, "gru": nn.GRU}
Arch = dict[str, int | float | str]


class PatternNN(nn.Module):
    """An LSTM or GRU; its last state is normed, dropped out and read by one linear layer."""

    def __init__(
        self,
        n_features: int,
        hidden: int = 64,
        layers: int = 1,
        n_classes: int = 2,
        dropout: float = 0.2,
        backbone: str = "lstm",
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}: got {backbone!r}")
        if min(n_features, hidden, layers) < 1 or n_classes < 2 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                "n_features, hidden and layers must be at least 1, n_classes at least 2 and dropout in [0, 1): got "
                f"{n_features}, {hidden}, {layers}, {n_classes} and {dropout}"
            )
        self._arch: Arch = {
            "n_features": n_features,
            "hidden": hidden,
            "layers": layers,
            "n_classes": n_classes,
            "dropout": dropout,
            "backbone": backbone,
        }
        between = dropout if layers > 1 else 0.0
        self.memory = BACKBONES[backbone](n_features, hidden, layers, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, windows: Tensor) -> Tensor:
        """(batch, bars, features) -> (batch, classes)."""
        states, _ = self.memory(windows)
        logits: Tensor = self.head(self.dropout(self.norm(states[:, -1])))
        return logits

    def arch(self) -> Arch:
        """What it takes to build the same network, as plain values."""
        return dict(self._arch)

    @classmethod
    def of(cls, arch: dict[str, Any]) -> PatternNN:
        """The network of `arch()`, with fresh weights."""
        return cls(**arch)

    @property
    def size(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for what torch does on the processor inside the block. For networks this small one is the
    fastest, and the only number that another process cannot make five times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights_hash(state: dict[str, Tensor]) -> str:
    """One hash for all weights: the same where every bit is the same."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)} {state[name].dtype}".encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
