"""Human numbers in, exact integers out, and back again.

An amount is a decimal string in whole units of a pinned asset: digits, at most one point, nothing else. Signs,
exponents, separators, spaces, more decimals than the asset has, and what does not fit uint256 are refused,
because each of them has turned a small payment into a large one somewhere.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from walletgate.types import UINT256_MAX

QUOTE_DECIMALS: Final = 18
"""Quote currencies are counted in 10^-18 parts."""

DURATION_MAX_S: Final = 3660 * 86_400
_UINT256_DIGITS: Final = 78

_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?\Z", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])\Z", re.ASCII)
_SHARE = re.compile(r"(0|[1-9][0-9]?|100)(?:\.([0-9]{1,2}))?%\Z", re.ASCII)
_RATE = re.compile(r"([0-9]{1,78}\.[0-9]{1,78})\Z|([0-9]{1,78})(?:/([1-9][0-9]{0,77}))?\Z", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class AmountError(ValueError):
    """The text is not an exact amount, duration or share; the message says why, `code` which."""

    def __init__(self, problem: str, *, code: str = "bad_amount") -> None:
        super().__init__(problem)
        self.code = code


def parse_amount(text: str, decimals: int) -> int:
    """Base units of `text`.

    Raises:
        AmountError: not exact in `decimals`, not plain digits, or over uint256.
    """
    match = _AMOUNT.match(text)
    if not match:
        raise AmountError('is not an amount: write plain digits with at most one point, such as "2.50"')
    whole, fraction = match.group(1), (match.group(2) or "").rstrip("0")
    if len(fraction) > decimals:
        raise AmountError(f"has {len(fraction)} decimals, but the asset has {decimals}")
    digits = whole + fraction.ljust(decimals, "0")
    if len(digits.lstrip("0")) > _UINT256_DIGITS or int(digits) > UINT256_MAX:
        raise AmountError("does not fit uint256")
    return int(digits)


def format_amount(units: int, decimals: int) -> str:
    """`units` as people write it; exact, so that it parses back to the same number."""
    sign, digits = ("-", str(-units)) if units < 0 else ("", str(units))
    digits = digits.rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def parse_duration(text: str) -> int:
    """Seconds of `90s`, `30m`, `24h`, `30d`, `2w`.

    Raises:
        AmountError: anything else, or more than ten years.
    """
    match = _DURATION.match(text)
    if not match:
        raise AmountError('is not a duration: write a number and s, m, h, d or w, such as "24h"', code="bad_duration")
    seconds = int(match.group(1)) * _UNIT_S[match.group(2)]
    if seconds > DURATION_MAX_S:
        raise AmountError("is longer than ten years", code="bad_duration")
    return seconds


def format_duration(seconds: int) -> str:
    """`seconds` as a policy would write it, in the largest unit that is exact; days up to hours' 24."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0 and (unit != "d" or seconds > 86_400):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def parse_rate(text: str) -> Fraction:
    """A positive rate: a decimal such as `0.00028`, or a fraction of whole numbers such as `97/100`.

    Raises:
        AmountError: anything else.
    """
    match = _RATE.match(text)
    if not match or not (decimal := match.group(1) or match.group(2)).strip("0."):
        raise AmountError('is not a rate: write a decimal such as "0.00028" or a fraction such as "97/100"')
    return Fraction(decimal) / Fraction(match.group(3) or 1)


def parse_share(text: str) -> int:
    """1/10,000 parts of `10%` or `0.25%`.

    Raises:
        AmountError: not a percentage between 0 and 100 with at most two decimals.
    """
    match = _SHARE.match(text)
    bips = int(match.group(1)) * 100 + int((match.group(2) or "").ljust(2, "0")) if match else -1
    if not 0 <= bips <= 10_000:
        problem = 'is not a share: write a percentage with at most two decimals, such as "10%"'
        raise AmountError(problem, code="bad_share")
    return bips


def format_share(bips: int) -> str:
    """`bips` as a percentage."""
    return f"{format_amount(bips, 2)}%"
