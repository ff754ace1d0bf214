"""Numbers and settings as text, with the same digits everywhere, for the report, figures, cards and messages."""

import math
from collections.abc import Sequence

THIN = "\u202f"  # a narrow space that does not break
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def value(setting: object) -> str:
    """A setting of params.yaml on one line: ``–`` for None, ``true`` or ``false``, lists and dicts with commas."""
    if setting is None:
        return "–"
    if isinstance(setting, bool):
        return str(setting).lower()
    if isinstance(setting, dict):
        return ", ".join(f"{key} {item}" for key, item in setting.items())
    return ", ".join(map(str, setting)) if isinstance(setting, list) else str(setting)


def number(count: int) -> str:
    """A count, from 0 on, as a word up to twelve (``no`` for 0), in digits above."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def count(n: int, noun: str = "") -> str:
    """``1,437`` or, with a noun, ``1,437 images``."""
    return f"{n:,}" + (f" {noun}{'s' * (n != 1)}" if noun else "")


def digits(x: float) -> str:
    """A number with four significant digits."""
    return f"{x:.4g}".replace("-", "−")


def percent(percentage: float) -> str:
    """A percentage (0 to 100) with one decimal and its unit."""
    return f"{percentage:.1f}{THIN}%"


def share(part: float, whole: float) -> str:
    """A part as a percentage of the whole, which is not 0, with two significant digits."""
    return f"{100 * part / whole:.2g}{THIN}%"


def runs(n: int) -> str:
    """The number of runs behind a mean: ``n = 5``."""
    return f"n{THIN}={THIN}{n}"


def points(difference: float) -> str:
    """A difference of percentages, in points, signed, with one decimal."""
    return f"{difference:+.1f}".replace("-", "−")


def error(standard_error: float) -> str:
    """`` ± 0.3 s.e.``, to follow a difference in the same unit; empty if the standard error is not finite."""
    return f" ± {standard_error:.1f} s.e." if math.isfinite(standard_error) else ""


def size(n_bytes: float) -> str:
    """A number of bytes with three significant digits, in the unit (powers of 1,000) that fits."""
    return _scaled(n_bytes, ["bytes", "kB", "MB", "GB", "TB"])


def arithmetic(gflop: float) -> str:
    """A number of GFLOP (1e9 floating-point operations) with three significant digits, in the unit that fits."""
    return _scaled(gflop, ["GFLOP", "TFLOP", "PFLOP", "EFLOP"])


def _scaled(amount: float, units: Sequence[str]) -> str:
    """An amount in the first of ``units``, each 1,000 times the one before, in which it is below 1,000."""
    step = 0
    while amount >= 999.5 and step < len(units) - 1:  # 999.5 would be rounded to 1e+03
        amount, step = amount / 1000, step + 1
    return f"{amount:.3g}{THIN}{units[step]}"
