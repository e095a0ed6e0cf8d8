"""Quantities ("500m", "64Gi") in the one form in which an API server gives each of them back.

Source: resource.Quantity of apimachinery: no fraction, the largest suffix that keeps the value;
what is written with a binary suffix keeps one, unless it is smaller than 1024.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_FORM = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?\d{1,3}))")
_RULE = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def value(text: str) -> Fraction:
    """The number a quantity means.

    Raises:
        ValueError: it is none; the message is the API server's.
    """
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError(_RULE)
    sign, digits, binary, decimal, exponent = found.groups()
    number = Fraction(digits) * (-1 if sign == "-" else 1)
    if binary:
        return number * (1 << 10 * _BINARY.index(binary))
    power = int(exponent) if exponent else 3 * (_DECIMAL.index(decimal or "") - 3)
    scale: int = 10 ** abs(power)
    return number * scale if power >= 0 else number / scale


def canonical(text: str) -> str:
    """A quantity as the API server writes it: "1024Mi" is "1Gi", "0.5" is "500m".

    Raises:
        ValueError: it is none; the message is the API server's.
    """
    number = value(text)
    if text.endswith("i") and abs(number) >= 1024:
        return _largest(Fraction(ceil(number)), 1024, _BINARY)
    if re.search(r"[eE][+-]?\d+$", text):
        return text
    return _largest(Fraction(ceil(number * 10**9)), 1000, _DECIMAL)


def _largest(number: Fraction, base: int, suffixes: tuple[str, ...]) -> str:
    """The number, counted in the first suffix, with the largest suffix that leaves it whole."""
    index, whole = 0, int(number)
    while whole and whole % base == 0 and index + 1 < len(suffixes):
        whole, index = whole // base, index + 1
    return f"{whole}{suffixes[index]}" if whole else "0"
