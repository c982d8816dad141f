"""What a metric is, and how each is called and defined: printed under every table and in `docs/metrics.md`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One number. `value` None is n/a; shares are fractions with the unit %; `low` and `high` are a 95 % interval or
    both None; `n` counts the cases it was worked out from; `words` is its definition and what else must be said."""

    name: str
    value: float | None
    n: int
    low: float | None
    high: float | None
    unit: str
    words: str

    @property
    def text(self) -> str:
        """The value for people: 12.3 %, 1.13, n/a."""
        return _shown(self.value, self.unit)

    def __str__(self) -> str:
        between = ""
        if self.low is not None and self.high is not None:
            between = f" [{_shown(self.low, self.unit)}, {_shown(self.high, self.unit)}]"
        return f"{self.name} {self.text}{between}, n = {self.n:,}"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    match unit:
        case "%":
            return f"{100 * value:,.2f} %"
        case "money":
            return f"{value:,.2f}"
        case "count":
            return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
        case "days" | "bars" | "bps":
            return f"{value:,.4g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"
        case "R":
            return f"{value:,.2f} R"
        case _:
            return f"{value:,.3f}" if unit == "probability" else f"{value:,.2f}"


@dataclass(frozen=True, slots=True)
class Definition:
    """`unit`: % (the value is a share), ratio, money, R, days, bars, bps, count, probability."""

    label: str
    unit: str
    words: str


def conventions(periods: int, rf: float) -> str:
    """The sentence that stands under every table."""
    return (
        f"Daily marked-to-market equity, net of costs; simple returns r; P = {periods} periods a year; sample standard "
        f"deviation; risk-free rate {rf:.2%} a year; intervals 95 %; n/a where undefined."
    )


DEFINITIONS: dict[str, Definition] = {
    # the account
    "total_return": Definition("Total return", "%", "E_n / E_0 - 1"),
    "cagr": Definition("CAGR", "%", "(E_n / E_0)^(365.25 / calendar days) - 1"),
    "volatility": Definition("Volatility", "%", "sd(r) √P"),
    "sharpe": Definition("Sharpe", "ratio", "(mean(r) - rf / P) / sd(r) √P; interval by Mertens' standard error"),
    "sortino": Definition("Sortino", "ratio", "(mean(r) - rf / P) / √(Σ min(r - rf / P, 0)² / n) √P, over all n"),
    "calmar": Definition("Calmar", "ratio", "CAGR / abs(max drawdown)"),
    "max_drawdown": Definition("Max drawdown", "%", "min(E_t / highest E so far - 1), the start being the first peak"),
    "max_drawdown_days": Definition("Longest drawdown", "days", "calendar days from a peak to the next new high"),
    "average_drawdown": Definition("Average drawdown", "%", "mean depth of the drawdowns"),
    "ulcer": Definition("Ulcer index", "%", "√mean(DD²)"),
    "pain": Definition("Pain index", "%", "mean(abs(DD))"),
    "recovery_factor": Definition("Recovery factor", "ratio", "net profit / max drawdown, both in money"),
    "omega": Definition("Omega(0)", "ratio", "Σ max(r, 0) / Σ max(-r, 0)"),
    "tail_ratio": Definition("Tail ratio", "ratio", "abs(95 % quantile / 5 % quantile) of r"),
    "var95": Definition("VaR 95 %", "%", "5 % quantile of r"),
    "cvar95": Definition("CVaR 95 %", "%", "mean of r at or below the 5 % quantile"),
    "skew": Definition("Skew", "ratio", "of r, corrected for bias"),
    "kurtosis": Definition("Excess kurtosis", "ratio", "of r, corrected for bias; 0 for the normal curve"),
    "psr": Definition("PSR(0)", "probability", "Φ(SR √(n - 1) / √(1 - γ3 SR + (γ4 - 1) / 4 SR²)), SR a period's"),
    "min_trl": Definition("MinTRL", "days", "1 + (1 - γ3 SR + (γ4 - 1) / 4 SR²) (1.645 / SR)², in trading days"),
    # its trades
    "trades": Definition("Trades", "count", "closed trades"),
    "zero_trades": Definition("Zero trades", "count", "closed trades with a net profit of exactly 0"),
    "open_trades": Definition("Open trades", "count", "not closed by the last bar; marked, in no other trade metric"),
    "win_rate": Definition("Win rate", "%", "W / N, zero trades in N; interval by Wilson's score"),
    "profit_factor": Definition("Profit factor", "ratio", "Σ wins / abs(Σ losses) in money, net of costs"),
    "payoff": Definition("Payoff ratio", "ratio", "mean win / abs(mean loss)"),
    "expectancy": Definition("Expectancy", "money", "mean(p)"),
    "expectancy_r": Definition("Expectancy in R", "R", "mean(p / risk), risk = abs(entry - first stop) quantity"),
    "expectancy_ratio": Definition("Expectancy ratio", "ratio", "(1 + payoff) win rate - 1"),
    "sqn": Definition("SQN", "ratio", "√N mean(R) / sd(R)"),
    "sqn_capped": Definition("SQN, capped", "ratio", "√min(N, 100) mean(R) / sd(R), as Tharp has it"),
    "kelly": Definition("Kelly", "%", "w - (1 - w) / payoff, w = W / (W + L)"),
    "half_kelly": Definition("Half Kelly", "%", "Kelly / 2: a ceiling, never a size"),
    "win_streak": Definition("Longest winning run", "count", "wins in a row"),
    "loss_streak": Definition("Longest losing run", "count", "losses in a row"),
    "bars_median": Definition("Bars held, median", "bars", "median over closed trades"),
    "bars_p90": Definition("Bars held, 90 %", "bars", "90 % quantile over closed trades"),
    "days_median": Definition("Days held, median", "days", "median of exit - entry, calendar days"),
    "days_p90": Definition("Days held, 90 %", "days", "90 % quantile of exit - entry, calendar days"),
    "trades_per_year": Definition("Trades a year", "count", "N / years, years = calendar days / 365.25"),
    "mae_r": Definition("MAE in R", "R", "mean worst open result of a trade / risk"),
    "mfe_r": Definition("MFE in R", "R", "mean best open result of a trade / risk"),
    "efficiency": Definition("Efficiency", "%", "Σ p / Σ MFE in money"),
    # how much was at work, and what it cost
    "time_exposure": Definition("Time in the market", "%", "bars with any position / bars"),
    "money_exposure": Definition("Money in the market", "%", "mean(gross market value / E)"),
    "turnover": Definition("Turnover a year", "ratio", "Σ abs(traded value) / mean(E) / years"),
    "costs": Definition("Costs", "money", "fees and slippage of the closed trades"),
    "cost_share": Definition("Costs of gross profit", "%", "costs / (Σ p + costs)"),
    "break_even_bps": Definition(
        "Break-even cost", "bps", "(Σ p + costs) / traded value: cost a side, in all, at which nothing is left"
    ),
    # beside the benchmark b
    "benchmark_return": Definition("Benchmark's return", "%", "b_n / b_0 - 1 over the same days"),
    "beta": Definition("Beta", "ratio", "cov(r, b) / var(b)"),
    "alpha": Definition("Alpha", "%", "(mean(r) - rf / P - β (mean(b) - rf / P)) P"),
    "correlation": Definition("Correlation", "ratio", "of r and b"),
    "tracking_error": Definition("Tracking error", "%", "sd(r - b) √P"),
    "information_ratio": Definition("Information ratio", "ratio", "mean(r - b) / sd(r - b) √P"),
    "up_capture": Definition("Up capture", "ratio", "annualised r / annualised b over the periods b rose"),
    "down_capture": Definition("Down capture", "ratio", "annualised r / annualised b over the periods b fell"),
}
