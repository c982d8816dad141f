"""A model card: what a version is, what it was made from, how it did beside plain baselines, and what it must not be
used for. Written from the sidecar alone, so that it says nothing that is not recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIGURES = {
    "acc": "right",
    "logloss": "log-loss",
    "brier": "Brier",
    "ece": "ECE",
    "auc": "AUC",
    "ic": "IC",
    "coverage_p70": "above 70 %",
    "precision_p70": "right there",
}
SHARES = ("acc", "coverage_p70", "precision_p70")


def card(said: Mapping[str, Any], status: str = "candidate") -> str:
    """Markdown."""
    data, label, split, run = said["data"], said["label"], said["split"], said.get("training", {})
    lines = [
        f"# {said['name']} v{said['version']} ({status})",
        "",
        said.get("sentence", "It was never judged."),
        "",
        f"- **Asked:** {question(label)}",
        f"- **Candles:** {', '.join(data['symbols'])}, {said['features']['timeframe']}, {data['start'][:10]} to "
        f"{data['end'][:10]}, {data['n_rows']:,} bars" + ("; **simulated prices**" if data.get("simulated") else ""),
        *(f"- **{part.capitalize()} slice:** {_span(split[part])}" for part in ("train", "val", "calib", "test")),
        f"- **Embargo:** {split['embargo_bars']} bars between slices ({split['scheme']})",
        f"- **Network:** {_network(said['arch'])}, windows of {said['features']['seq_len']} bars of "
        f"{len(said['features']['names'])} features",
        f"- **Training:** best epoch {run.get('best_epoch', '?')} of {run.get('epochs_run', '?')}, lr {run.get('lr')}, "
        f"batch {run.get('batch')}, seed {run.get('seed')}, {run.get('device')}, "
        f"{run.get('seconds', 0.0):.0f} s, {run.get('windows_per_s', 0):,.0f} windows/s",
        f"- **Calibration:** temperature {said['calibration']['T']:.3f}, fitted on the calibration slice",
        "",
        "## On the test slice, which nothing was learned or tuned from",
        "",
        *figures(said.get("metrics", {})),
        "",
        *_more(said.get("metrics", {})),
        "## Limits",
        "",
        *(f"- {limit}" for limit in said.get("limits", ())),
        "",
        "## Made by",
        "",
        *(f"- {name}: {value}" for name, value in said.get("code", {}).items()),
        f"- sha256 of the weights: {said.get('files', {}).get('pth', {}).get('sha256', 'not saved')}",
        f"- sha256 of the candles: {data['source_sha256']}",
        f"- saved {said['created_utc']}",
    ]
    return "\n".join(lines) + "\n"


def question(label: Mapping[str, Any]) -> str:
    """What a label asks, in words."""
    if label["kind"] == "pattern":
        return f"which candlestick pattern is complete ({', '.join(label['patterns'])}); nothing about what comes next"
    if label["kind"] == "direction":
        band = f", moves under {label['dead_band_bps']:g} bps apart" if label["dead_band_bps"] else ""
        bars = f"{label['horizon']} bar{'s' * (label['horizon'] != 1)}"
        return f"is the close {bars} on above the next open{band}"
    return (
        f"does a long trade from the next open earn after {label['cost_bps']:g} bps, target {label['pt']:g} and stop "
        f"{label['sl']:g} volatilities away, {label['horizon']} bars of patience"
    )


def figures(metrics: Mapping[str, Any]) -> list[str]:
    """The table, the plainest baseline first."""
    rows = {name: found for name, found in metrics.get("baselines", {}).items() if found}
    rows |= {"this model": metrics["test"]} if metrics.get("test") else {}
    if not rows:
        return ["No figures were recorded."]
    lines = [f"| | n | {' | '.join(FIGURES.values())} |", "|---" * (len(FIGURES) + 2) + "|"]
    lines += [f"| {name} | {found['n']:,} | {' | '.join(_cells(found))} |" for name, found in rows.items()]
    return lines


def _cells(found: Mapping[str, Any]) -> list[str]:
    low, high = found.get("acc_ci95") or (None, None)
    around = "" if low is None else f" ({low:.1%} to {high:.1%})"
    return [number(name, found.get(name)) + (around if name == "acc" else "") for name in FIGURES]


def number(name: str, value: float | None) -> str:
    """A figure as the tables write it."""
    if value is None:
        return "n/a"
    return f"{value:.1%}" if name in SHARES else f"{value:.4f}"


def _more(metrics: Mapping[str, Any]) -> list[str]:
    seeds, folds, net = metrics.get("seeds"), metrics.get("walk_forward"), metrics.get("backtest_net")
    lines = []
    if net:
        lines += ["## After costs", "", net["said"], ""]
    if seeds:
        said = f"{seeds['n']} seeds: right {seeds['acc_mean']:.1%} ± {seeds['acc_std']:.1%} (one standard deviation)."
        lines += ["## Other seeds", "", said, ""]
    if folds:
        said = f"{len(folds['folds'])} folds, learned anew in each: right {folds['acc_mean']:.1%}, "
        lines += ["## Walk-forward", "", said + f"log-loss {folds['logloss_mean']:.4f}.", ""]
    return lines


def _span(span: Sequence[str]) -> str:
    return f"{span[0][:16]} to {span[1][:16]} UTC"


def _network(arch: Mapping[str, Any]) -> str:
    return f"{arch['backbone'].upper()} of {arch['hidden']}, {arch['layers']} layer(s), dropout {arch['dropout']:g}"
