"""Human numbers: exact both ways, and everything that has ever turned one into another is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walletgate.policy.amounts import (
    AmountError,
    format_amount,
    format_duration,
    parse_amount,
    parse_duration,
    parse_rate,
    parse_share,
)
from walletgate.types import UINT256_MAX


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [("0", 6, 0), ("1", 6, 10**6), ("0.000001", 6, 1), ("10.50", 6, 10_500_000), ("1.0000000", 6, 10**6),
     ("7", 0, 7), ("7.0", 0, 7), (str(UINT256_MAX), 0, UINT256_MAX), (f"{'1' * 77}", 0, int("1" * 77))],
)  # fmt: skip
def test_reads_amounts(text, decimals, units):
    assert parse_amount(text, decimals) == units


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1e6", "1E6", "0x1", "1_000", "1,000", "1 000", ".5", "5.", "1.2.3", " 1", "1 ", "1\n", "01", "00",
     "NaN", "inf", "½", "\u0661", "1.0000001", "0.0000001", str(UINT256_MAX + 1), "9" * 5000, "unlimited"],
)  # fmt: skip
def test_refuses_amounts(text):
    with pytest.raises(AmountError) as caught:
        parse_amount(text, 6 if text != str(UINT256_MAX + 1) else 0)
    assert caught.value.code == "bad_amount"


@given(st.integers(0, UINT256_MAX), st.integers(0, 77))
def test_every_amount_survives_the_round_trip(units, decimals):
    assert parse_amount(format_amount(units, decimals), decimals) == units


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_reads_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0h", "24", "24H", "1.5h", "-1h", "1h30m", "h", "1 h", "3661d", "1y", "٣h", "1h\n"]
)
def test_refuses_durations(text):
    with pytest.raises(AmountError) as caught:
        parse_duration(text)
    assert caught.value.code == "bad_duration"


@given(st.integers(1, 10**8))
def test_every_duration_survives_the_round_trip(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "bips"), [("0%", 0), ("10%", 1000), ("0.25%", 25), ("100%", 10_000), ("99.9%", 9990)])
def test_reads_shares(text, bips):
    assert parse_share(text) == bips


@pytest.mark.parametrize("text", ["10", "101%", "100.01%", "-1%", "0.001%", "1e1%", "010%", "%"])
def test_refuses_shares(text):
    with pytest.raises(AmountError) as caught:
        parse_share(text)
    assert caught.value.code == "bad_share"


@pytest.mark.parametrize(
    ("text", "parts"), [("97/100", (97, 100)), ("0.5", (1, 2)), ("3", (3, 1)), ("0.00028", (7, 25_000))]
)
def test_reads_rates(text, parts):
    rate = parse_rate(text)
    assert (rate.numerator, rate.denominator) == parts


@pytest.mark.parametrize("text", ["0", "0.0", "0/5", "1/0", "-1", "1/2/3", "1.5/2", "1e3", ""])
def test_refuses_rates(text):
    with pytest.raises(AmountError):
        parse_rate(text)
