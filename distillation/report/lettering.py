"""Text of a figure: on one line, and in a font that has its characters.

Figures are in DejaVu Sans, which matplotlib ships, so that they have the same bytes on every machine. What it lacks (Chinese,
Japanese, Korean, most scripts of South Asia) is drawn in a font of this machine, if there is one.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib import font_manager
from matplotlib.text import Text

from distillation.runtime.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

SHIPPED = str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
UNKNOWN = "?"


def font_of(text: str) -> str | None:
    """The file of the first font that draws every character of ``text``, first matplotlib's own; None if none does."""
    return SHIPPED if _draws(SHIPPED, text) else next((font for font in installed() if _draws(font, text)), None)


@cache
def installed() -> Sequence[str]:
    """The files of the fonts of this machine: plain sans-serif fonts first, then by name; looked up once a process."""
    return sorted(
        font_manager.findSystemFonts(), key=lambda file: (not _is_plain(Path(file).stem), Path(file).name, file)
    )


def _is_plain(name: str) -> bool:
    """Whether a font's file name is that of a sans-serif font: proportional, upright, neither light nor bold."""
    return "Sans" in name and not any(
        style in name for style in ("Bold", "Italic", "Oblique", "Mono", "Light", "Black")
    )


def _draws(file: str, text: str) -> bool:
    """Whether a font has every character of a text, and can be scaled."""
    try:
        font = font_manager.get_font(file)
        return font.scalable and all(_has(font, c) for c in text)
    except (OSError, RuntimeError):  # no font after all, or of a kind that matplotlib cannot read
        return False


def _has(font: "FT2Font", character: str) -> bool:
    """Whether a font has a glyph of a character and, unless it is a blank or a mark, the glyph has an outline."""
    index = font.get_char_index(ord(character))
    if not index or unicodedata.category(character)[0] not in "LNPS":
        return bool(index)
    font.load_glyph(index)  # a font may have a glyph without an outline in place of one that it lacks
    return len(font.get_path()[0]) > 0


def legible(figure: "Figure") -> None:
    """Changes each text of a figure so that it can be read: on one line, in a font that has its characters.

    If no font has all characters of a text, those that matplotlib's own font lacks become ``?``.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        line = one_line(text.get_text())
        if (file := font_of(line)) is None:
            line, file = "".join(c if _draws(SHIPPED, c) else UNKNOWN for c in line), SHIPPED
        text.set_text(line)
        if file != SHIPPED:
            font = text.get_fontproperties().copy()  # the labels of a legend share theirs
            font.set_file(file)
            text.set_fontproperties(font)


def label(name: str, otherwise: str, columns: int = 8) -> str:
    """A name that fits below an image; ``otherwise`` if no font has its characters.

    Args:
        name: of a class.
        otherwise: text of characters that every font has.
        columns: the most that fit; a wide character (Chinese, Japanese, Korean) takes two.
    """
    name = one_line(name)
    if font_of(name) is None:
        return otherwise
    if _columns(name) <= columns:
        return name
    while _columns(name) >= columns:
        name = name[:-1]
    return name + "…"


def _columns(text: str) -> int:
    """The width of a text: 2 for a wide character, 0 for a combining one, 1 for every other."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
