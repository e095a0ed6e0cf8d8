"""Filters on single values: conversions that refuse what they do not understand, numbers, dates."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

_TRUE = ("yes", "on", "true", "1", "1.0")
_FALSE = ("no", "off", "false", "0", "0.0")


def to_bool(value: Any) -> bool:
    """True for yes, on, true and 1 in any case, false for no, off, false and 0."""
    text = str(value).lower() if isinstance(value, str | int | float) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"bool: {value!r} is neither true nor false")


def to_int(value: Any, default: Any = None, base: int = 10) -> Any:
    """A whole number. Text that holds none is an error unless a default is given (Jinja2's own
    filter would silently give 0)."""
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        if default is None:
            raise ValueError(f"int: {value!r} is not a whole number") from None
        return default


def to_float(value: Any, default: Any = None) -> Any:
    """A number. Text that holds none is an error unless a default is given."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        if default is None:
            raise ValueError(f"float: {value!r} is not a number") from None
        return default


def ternary(value: Any, true_val: Any, false_val: Any, none_val: Any = None) -> Any:
    if value is None and none_val is not None:
        return none_val
    return true_val if bool(value) else false_val


def type_name(value: Any) -> str:
    """`type_debug`: the name of the value's type."""
    kinds = ((bool, "bool"), (str, "str"), (Mapping, "dict"), (list, "list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _number(name: str, value: Any) -> float:
    if isinstance(value, int | float):
        return value
    raise ValueError(f"{name}: {value!r} is not a number")


def logarithm(value: Any, base: float = math.e) -> float:
    number = _number("log", value)
    try:
        return math.log10(number) if base == 10 else math.log(number, base)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"log: {error}") from None


def power(value: Any, exponent: Any) -> float:
    try:
        return math.pow(_number("pow", value), _number("pow", exponent))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"pow: {error}") from None


def root(value: Any, base: Any = 2) -> float:
    number = _number("root", value)
    try:
        return math.sqrt(number) if base == 2 else math.pow(number, 1.0 / _number("root", base))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"root: {error}") from None


_SIZES = {letter: 1 << 10 * power for power, letter in enumerate("BKMGTPEZY")}
_LONG = ("", "kilo", "mega", "giga", "tera", "peta", "exa", "zeta", "yotta")


def human_readable(size: Any, isbits: bool = False, unit: str | None = None) -> str:
    """Bytes (or bits) as people write them: 1.50 GB, by powers of 1024."""
    number = _number("human_readable", size)
    letter = next((name for name in reversed(_SIZES) if number >= _SIZES[name]), "B")
    if unit is not None:
        letter = unit[:1].upper()
        if letter not in _SIZES:
            raise ValueError(f"human_readable: unit {unit!r} is none of {', '.join(_SIZES)}")
    base = "bits" if isbits else "Bytes"
    shown = base if letter == "B" else letter + base[0]
    return f"{number / _SIZES[letter]:.2f} {shown}"


def human_to_bytes(size: Any, default_unit: str | None = None, isbits: bool = False) -> int:
    """What people write as 1.5G, 10 MB or 2 kilobyte as bytes (with `isbits`: 2Mb as bits)."""
    found = re.fullmatch(r"(\d*\.?\d+)(?:\s*([A-Za-z]+))?\s*", str(size), re.ASCII)
    if not found:
        raise ValueError(f"human_to_bytes: {size!r} is no size; write 10, 1.5G or 20 MB")
    unit = found[2] or default_unit
    if unit is None:
        return round(float(found[1]))
    letter = unit[0].upper()
    if letter not in _SIZES or (len(unit) > 1 and not _names_unit(unit, letter, isbits)):
        what = "Kb, Mb, Gb" if isbits else "KB, MB, GB"
        raise ValueError(f"human_to_bytes: unit {unit!r} is not known; write {what} ...")
    return round(float(found[1]) * _SIZES[letter])


def _names_unit(unit: str, letter: str, isbits: bool) -> bool:
    prefix = _LONG["BKMGTPEZY".index(letter)]
    short = "" if letter == "B" else letter
    names = (prefix + "bit", short + "b") if isbits else (prefix + "byte", short + "B")
    return unit.lower() == names[0] or unit == names[1]


def to_datetime(value: Any, format: str = "%Y-%m-%d %H:%M:%S") -> datetime:  # noqa: A002
    """A date and time of a text; two of them can be subtracted and compared."""
    try:
        return datetime.strptime(str(value), format)
    except ValueError as error:
        raise ValueError(f"to_datetime: {error}") from None


def strftime(format: str, second: Any = None, utc: bool = False) -> str:  # noqa: A002
    """Seconds since 1970 written in a format. Without them it would be the time of the look, and
    a plan would differ at every look."""
    if second is None:
        raise ValueError("strftime: give the seconds: '%Y-%m-%d' | strftime(seconds)")
    try:
        moment = float(second)
        return time.strftime(format, time.gmtime(moment) if utc else time.localtime(moment))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"strftime: {second!r} are no seconds since 1970") from None


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def truthy(value: Any, convert_bool: bool = False) -> bool:
    """Whether Python takes the value for true; with `convert_bool` words are understood, too."""
    if convert_bool:
        try:
            return to_bool(value)
        except ValueError:
            pass
    return bool(value)


def falsy(value: Any, convert_bool: bool = False) -> bool:
    return not truthy(value, convert_bool)


FILTERS: dict[str, Callable[..., Any]] = {
    "bool": to_bool,
    "float": to_float,
    "human_readable": human_readable,
    "human_to_bytes": human_to_bytes,
    "int": to_int,
    "log": logarithm,
    "pow": power,
    "root": root,
    "strftime": strftime,
    "ternary": ternary,
    "to_datetime": to_datetime,
    "type_debug": type_name,
}
TESTS: dict[str, Callable[..., bool]] = {
    "falsy": falsy,
    "isnan": is_nan,
    "nan": is_nan,
    "truthy": truthy,
}
