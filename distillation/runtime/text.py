"""Text made of data, such as the names of classes and files, for one line of a message, a page or a figure."""

import re
import unicodedata

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """The text without what a terminal, a page or UTF-8 cannot take.

    Tabs and line breaks become blanks, other control characters and lone surrogates (bytes of a name that is no UTF-8) the
    replacement character.
    """
    blanks = _BREAKS.sub(" ", text)
    return "".join(_REPLACEMENT if unicodedata.category(c) in ("Cc", "Cs") else c for c in blanks)
