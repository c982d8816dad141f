"""domain/fees.py: commissions, and the regulators' fees by the day they began."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from domain import fees
from domain.fees import FREE, Commission


def money(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("day", "per_million", "per_share"),
    [
        ("2024-05-21", "8.00", "0.000166"),
        ("2024-05-22", "27.80", "0.000166"),
        ("2025-05-13", "27.80", "0.000166"),
        ("2025-05-14", "0.00", "0.000166"),
        ("2026-04-04", "20.60", "0.000195"),
        ("1999-01-04", "17.40", "0.000090"),  # before the tables begin: their first row
        ("2050-01-03", "20.60", "0.000232"),  # after they end: their last
    ],
)
def test_a_day_has_its_own_rates(day: str, per_million: str, per_share: str) -> None:
    on = date.fromisoformat(day)

    assert fees.rate_on(fees.SEC_SECTION_31, on).per == money(per_million)
    assert fees.rate_on(fees.FINRA_TAF, on).per == money(per_share)


def test_each_fee_is_rounded_up_to_the_cent_by_itself() -> None:
    day = date(2024, 6, 3)

    assert fees.sec_fee(money("19000"), day) == money("0.53")  # 0.5282
    assert fees.taf(money("100"), day) == money("0.02")  # 0.0166
    assert fees.taf(money("10"), day) == money("0.01")  # 0.00166, never nothing
    assert fees.regulatory_fees(money("100"), money("190"), day) == money("0.55")


def test_a_day_without_a_sec_fee_still_has_the_taf() -> None:
    assert fees.regulatory_fees(money("100"), money("190"), date(2025, 6, 2)) == money("0.02")


def test_the_taf_has_a_cap_per_trade() -> None:
    assert fees.taf(money("50000"), date(2024, 6, 3)) == money("8.30")
    assert fees.taf(money("49999"), date(2024, 6, 3)) == money("8.30")  # 8.299834
    assert fees.taf(money("10000000"), date(2024, 6, 3)) == money("8.30")


@pytest.mark.parametrize("table", [fees.SEC_SECTION_31, fees.FINRA_TAF])
def test_a_table_is_in_order_and_names_its_sources(table: tuple[fees.Rate, ...]) -> None:
    days = [rate.start for rate in table]

    assert days == sorted(set(days))
    assert all(rate.source and rate.per >= 0 for rate in table)


@pytest.mark.parametrize(
    ("commission", "quantity", "value", "wanted"),
    [
        (FREE, "100", "19000", "0"),
        (Commission(per_order=money("4.95")), "100", "19000", "4.95"),
        (Commission(per_share=money("0.005"), minimum=money("1")), "100", "19000", "1.00"),  # 0.50
        (Commission(per_share=money("0.005"), minimum=money("1")), "301", "19000", "1.51"),  # 1.505
        (Commission(bps=money("10")), "0.5", "20000", "20.00"),
        (Commission(bps=money("10"), maximum=money("15")), "0.5", "20000", "15.00"),
        (Commission(per_order=money("4.95")), "0", "0", "0"),  # nothing filled, nothing owed
    ],
)
def test_a_commission_by_hand(commission: Commission, quantity: str, value: str, wanted: str) -> None:
    assert commission.of(money(quantity), money(value)) == money(wanted)


def test_a_commission_checks_itself_and_names_all_that_is_wrong() -> None:
    with pytest.raises(
        ValueError, match=r"per_order must be .* got Decimal\('-1'\); bps must be .* got Decimal\('NaN'"
    ):
        Commission(per_order=money("-1"), bps=money("NaN"))
    with pytest.raises(ValueError, match="per_share must be a Decimal"):
        Commission(per_share=0.005)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="minimum must not exceed maximum: got 2 and 1"):
        Commission(minimum=money("2"), maximum=money("1"))
