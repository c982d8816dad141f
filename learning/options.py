"""How to train, and how a training tells how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from domain.params import check_params, param

BIGGEST_BATCH = {"cpu": 256, "cuda": 4096}


@dataclass(frozen=True)
class Options:
    """How to train. Form, command line and model card read these declarations."""

    epochs: int = param(30, low=1, high=1000, help="times through the train slice, at most")
    seq_len: int = param(10, low=2, high=256, help="bars that the network sees at once")
    lr: float = param(1e-3, low=1e-6, high=1.0, help="learning rate at its highest")
    batch_size: int = param(0, low=0, high=65_536, help="windows a step; 0: a fiftieth of them, at most 256")
    hidden: int = param(64, low=4, high=1024, help="size of the network's memory")
    layers: int = param(1, low=1, high=4, help="recurrent layers")
    dropout: float = param(0.2, low=0.0, high=0.9, help="share of the memory that is dropped at each step")
    backbone: str = param("lstm", choices=("lstm", "gru"), help="kind of memory")
    seed: int = param(7, low=0, high=2**31 - 1, help="where chance begins: first weights, order, dropout")
    patience: int = param(6, low=1, high=1000, help="epochs without a better validation loss before it stops")
    weight_decay: float = param(1e-2, low=0.0, high=1.0, help="pull of the weights towards 0; not of biases and norms")
    label_smoothing: float = param(0.0, low=0.0, high=0.3, help="share of certainty taken from each label")
    device: str = param("auto", choices=("auto", "cpu", "cuda"), help="where to compute; auto: a GPU if there is one")
    threads: int = param(1, low=0, high=64, help="threads on the processor; 0: try 1, 2 and 4 and keep the fastest")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def where(self) -> str:
        """The device that `auto` means here."""
        if self.device == "auto":
            import torch  # a form that only reads these declarations needs none of it

            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def batch(self, windows: int) -> int:
        """Windows a step, for so many to learn from."""
        return self.batch_size or max(16, min(BIGGEST_BATCH[self.where], windows // 50))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One time through the train slice: mean losses, the learning rate at its end, windows a second, seconds."""

    epoch: int
    train_loss: float
    val_loss: float
    lr: float
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """How far it is. `share` in [0, 1] of all epochs; `left_s` if none of them is spared; `done` an ended epoch."""

    epoch: int
    epochs: int
    share: float
    rate: float
    left_s: float
    best_epoch: int = 0
    done: Epoch | None = None

    @property
    def words(self) -> str:
        if self.done is None:
            return f"epoch {self.epoch} of {self.epochs}: {self.rate:,.0f} windows/s, {self.left_s:.0f} s left at most"
        return (
            f"epoch {self.epoch} of {self.epochs}: loss {self.done.train_loss:.4f}, validation "
            f"{self.done.val_loss:.4f} (best at epoch {self.best_epoch}), {self.left_s:.0f} s left at most"
        )
