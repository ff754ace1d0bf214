"""A comparison as one self-contained HTML page, and as text."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillation.report import figures, page
from distillation.runtime.text import one_line

if TYPE_CHECKING:
    import pandas as pd

    from distillation.compare.section import Section


def html(sections: "Sequence[Section]") -> str:
    """Renders a comparison as one HTML document without outside files, in the style of the report; writes nothing.

    Args:
        sections: in the order of the page. Each has a title, a table, a note and, if it draws one, a figure, which is
            embedded as SVG for light and for dark screens. All text is escaped.
    """
    template = page.template("comparison.html.j2", Path(__file__).parent)
    return template.render(sections=[_shown(each) for each in sections])


def text(sections: "Sequence[Section]") -> str:
    """Renders the titles, tables and notes of ``sections`` as plain text for a terminal."""
    whole = "\n\n".join("\n".join([each.title, *_lines(each.shown), each.note]) for each in sections)
    return "\n".join(map(one_line, whole.split("\n")))


def _lines(table: "pd.DataFrame") -> list[str]:
    return [table.to_string(index=False)] if len(table) else []


def _shown(section: "Section") -> dict[str, Any]:
    """A section as variables of the template, its figure as data URIs."""
    picture = None
    if section.draw:
        light, dark = (base64.b64encode(content).decode() for content in figures.svg(section.draw))
        picture = {"light": f"data:image/svg+xml;base64,{light}", "dark": f"data:image/svg+xml;base64,{dark}"}
    rows = section.shown.astype(str).values.tolist()
    return {
        "title": section.title,
        "note": section.note,
        "columns": list(section.shown.columns),
        "rows": rows,
        "picture": picture,
    }
