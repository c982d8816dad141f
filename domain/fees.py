"""What a trade costs beside its price: the broker's commission and, for sales of US shares, the regulators' fees.

Each rate carries the day it began and where it is from. A trade before a table's first day is charged the first rate,
one after its last row the last rate: neither is a promise about that day. The rates were written down by hand from
the notices they name; "as remembered" marks a row whose notice was not at hand. Check them against sec.gov (fee rate
advisories) and finra.org (Schedule A, section 1) before money depends on them. FINRA filed to charge no TAF from
October to December 2026 (SR-FINRA-2026-021); that is not in the table, so those sales are charged a little too much.
The Consolidated Audit Trail fee, well below a cent for most orders, is left out.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal

CENT = Decimal("0.01")
ZERO = Decimal(0)
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Rate:
    """A fee from `start` on: `per` million dollars for the SEC, per share for the TAF, at most `cap` a trade."""

    start: date
    per: Decimal
    source: str
    cap: Decimal | None = None


def _sec(start: str, per_million: str, source: str) -> Rate:
    return Rate(date.fromisoformat(start), Decimal(per_million), source)


def _taf(start: str, per_share: str, cap: str, source: str) -> Rate:
    return Rate(date.fromisoformat(start), Decimal(per_share), source, Decimal(cap))


SEC_SECTION_31 = (
    _sec("2013-05-25", "17.40", "rate confirmed by FINRA information notice 3/3/14; day as remembered"),
    _sec("2014-03-18", "22.10", "FINRA information notice 3/3/14"),
    _sec("2015-02-14", "18.40", "SEC fee rate advisory for fiscal year 2015, as remembered"),
    _sec("2016-02-16", "21.80", "rate confirmed by FINRA information notice 3/15/16; day as remembered"),
    _sec("2017-07-04", "23.10", "SEC fee rate advisory for fiscal year 2017, as remembered"),
    _sec("2018-05-22", "13.00", "SEC fee rate advisory for fiscal year 2018, as remembered"),
    _sec("2019-04-16", "20.70", "SEC fee rate advisory for fiscal year 2019, as remembered"),
    _sec("2020-02-18", "22.10", "rate confirmed by SEC fee rate advisory 3 for fiscal year 2020; day as remembered"),
    _sec("2021-02-25", "5.10", "SEC fee rate advisory 2 for fiscal year 2021; FINRA information notice 2/16/21"),
    _sec("2022-05-14", "22.90", "SEC fee rate advisory for fiscal year 2022, as remembered"),
    _sec("2023-02-27", "8.00", "SEC fee rate advisory for fiscal year 2023, as remembered"),
    _sec("2024-05-22", "27.80", "SEC order 34-99973 for fiscal year 2024; day as remembered"),
    _sec("2025-05-14", "0.00", "SEC announcement of 8 April 2025: the year's appropriation was already collected"),
    _sec("2026-04-04", "20.60", "SEC order 34-104909 of 27 February 2026"),
)
FINRA_TAF = (
    _taf("2011-07-01", "0.000090", "4.50", "FINRA regulatory notice 11-27"),
    _taf("2012-03-01", "0.000095", "4.75", "FINRA regulatory notice 12-06"),
    _taf("2012-07-01", "0.000119", "5.95", "FINRA regulatory notice of June 2012, as remembered"),
    _taf("2022-01-01", "0.000130", "6.49", "FINRA fee schedule from 2022 on (SR-FINRA-2020-032), as remembered"),
    _taf("2023-01-01", "0.000145", "7.27", "FINRA fee schedule from 2022 on (SR-FINRA-2020-032), as remembered"),
    _taf("2024-01-01", "0.000166", "8.30", "FINRA fee schedule from 2022 on (SR-FINRA-2020-032)"),
    _taf("2026-01-01", "0.000195", "9.79", "FINRA fee schedule from 2025 on (SR-FINRA-2024-019)"),
    _taf("2027-01-01", "0.000232", "11.61", "FINRA fee schedule from 2025 on (SR-FINRA-2024-019)"),
)


@dataclass(frozen=True, slots=True)
class Commission:
    """What the broker takes for one order, over all its fills: so much an order, a share and a ten-thousandth of its
    value (`bps`), at least `minimum` and at most `maximum`, up to the cent. A money amount each, in the account's
    currency; `maximum` None means none."""

    per_order: Decimal = ZERO
    per_share: Decimal = ZERO
    bps: Decimal = ZERO
    minimum: Decimal = ZERO
    maximum: Decimal | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} must be a Decimal of zero or more: got {value!r}"
            for name, value in self._amounts().items()
            if not (isinstance(value, Decimal) and value.is_finite() and value >= 0)
        ]
        if not wrong and self.maximum is not None and self.maximum < self.minimum:
            wrong = [f"minimum must not exceed maximum: got {self.minimum} and {self.maximum}"]
        if wrong:
            raise ValueError("Commission: " + "; ".join(wrong))

    def _amounts(self) -> dict[str, Decimal]:
        amounts = {n: getattr(self, n) for n in ("per_order", "per_share", "bps", "minimum")}
        return amounts if self.maximum is None else {**amounts, "maximum": self.maximum}

    def of(self, quantity: Decimal, value: Decimal) -> Decimal:
        """For an order of which `quantity` has filled for `value` in all; nothing filled, nothing owed."""
        if quantity <= 0:
            return ZERO
        raw = self.per_order + self.per_share * quantity + self.bps * value / 10_000
        owed = max(raw, self.minimum)
        return up_to_cent(owed if self.maximum is None else min(owed, self.maximum))


# E*TRADE takes no commission on US shares (its price list since October 2019).
FREE = Commission()


def regulatory_fees(quantity: Decimal, price: Decimal, day: date) -> Decimal:
    """SEC section 31 fee and FINRA TAF of one sale of US shares on its New York trade date, each up to the cent as
    brokers charge it. A purchase pays neither.

    >>> regulatory_fees(Decimal(100), Decimal(190), date(2024, 6, 3))  # 0.5282 and 0.0166 dollars
    Decimal('0.55')
    """
    return sec_fee(quantity * price, day) + taf(quantity, day)


def sec_fee(value: Decimal, day: date) -> Decimal:
    """The section 31 fee on a sale for `value` dollars."""
    return up_to_cent(value * rate_on(SEC_SECTION_31, day).per / MILLION)


def taf(quantity: Decimal, day: date) -> Decimal:
    """FINRA's trading activity fee on a sale of `quantity` shares, capped per trade."""
    rate = rate_on(FINRA_TAF, day)
    raw = quantity * rate.per
    return up_to_cent(raw if rate.cap is None else min(raw, rate.cap))


def rate_on(table: tuple[Rate, ...], day: date) -> Rate:
    """The row in force on `day`: the first one before the table begins, the last one after it ends."""
    return table[max(bisect_right(table, day, key=lambda rate: rate.start) - 1, 0)]


def up_to_cent(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_UP)
