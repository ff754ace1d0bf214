"""Numbers as people read them, always with the same digits."""

import math

THIN = "\u202f"  # a narrow space that does not break
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def value(given):
    """A setting on one line."""
    if given is None:
        return "–"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, dict):
        return ", ".join(f"{key} {one}" for key, one in given.items())
    return ", ".join(map(str, given)) if isinstance(given, list) else str(given)


def number(count):
    """A small count as a word."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def count(given, noun=""):
    """``1,437`` or, with a noun, ``1,437 images``."""
    return f"{given:,}" + (f" {noun}{'s' * (given != 1)}" if noun else "")


def digits(given):
    """A number with four significant digits."""
    return f"{given:.4g}".replace("-", "−")


def percent(given):
    return f"{given:.1f}{THIN}%"


def share(part, whole):
    """A part in percent of the whole, with two significant digits."""
    return f"{100 * part / whole:.2g}{THIN}%"


def runs(n):
    return f"n{THIN}={THIN}{n}"


def points(difference):
    return f"{difference:+.1f}".replace("-", "−")


def error(standard_error):
    """What follows a difference; nothing where the error is unknown."""
    return f" ± {standard_error:.1f} s.e." if math.isfinite(standard_error) else ""


def size(given):
    return _scaled(given, ["bytes", "kB", "MB", "GB", "TB"])


def arithmetic(giga):
    return _scaled(giga, ["GFLOP", "TFLOP", "PFLOP", "EFLOP"])


def _scaled(given, units):
    step = 0
    while given >= 999.5 and step < len(units) - 1:
        given, step = given / 1000, step + 1
    return f"{given:.3g}{THIN}{units[step]}"
