"""The report's figures: the same inputs give the same bytes, and matplotlib's global settings are left unchanged.

A figure is a function of a Palette, so that one function draws it for light and for dark pages.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from distillation.report import lettering, pictures, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from distillation.report.reading import Artefacts

WIDTH, DPI = 4.1, 200  # house: inches of a figure, half of the page's width; dots per inch of a PNG
POINTS = 300  # house: a curve has at most so many points, more than a figure has pixels to show
TEACHER_CURVES = {"loss": "training loss", "train_accuracy": "training accuracy, %"}
NORM_CURVES = {"mean": "std of channels’ running means", "variance": "std of channels’ running variances"}


@dataclass(frozen=True)
class Palette:
    """Colours (#rrggbb) of a scheme.

    Attributes:
        paper: background.
        ink: text.
        muted: labels and titles.
        rule: axes and grid.
        plain: bars of sets that were not distilled.
        accent: the distilled set, and curves that are alone.
        control: the control.
        lines: curves, a colour for each network; repeated if there are more networks.
    """

    paper: str
    ink: str
    muted: str
    rule: str
    plain: str
    accent: str
    control: str
    lines: tuple[str, ...]


Draw = Callable[[Palette], Figure]


def _colours(palette: Palette) -> list[str]:
    *single, lines = astuple(palette)
    return [*single, *lines]


LIGHT = Palette(
    "#ffffff", "#1c2126", "#68717a", "#dfe3e7", "#b9c1c9", "#17658f", "#d0933c",
    ("#17658f", "#c4622d", "#4d8a4f", "#8562a8", "#a8842c", "#3f9aa0", "#b4507a", "#5d6872"),
)  # fmt: skip
DARK = Palette(
    "#171a1d", "#e4e7ea", "#98a1aa", "#32383e", "#5b656e", "#69b4de", "#d9a65a",
    ("#69b4de", "#e58f62", "#86bf88", "#b79ad4", "#d4b463", "#7cc9ce", "#e08bb0", "#9aa5af"),
)  # fmt: skip
# From each light colour to the dark one of the same use, as bytes of an SVG.
DARKER = {a.encode(): b.encode() for a, b in zip(_colours(LIGHT), _colours(DARK), strict=True)}


def drawings(artefacts: "Artefacts") -> dict[str, Draw]:
    """Lists the figures of a report without drawing them.

    Returns:
        Functions of a Palette by the figure's name, which is the stem of its file, in the order of the page. A figure
        whose data are missing is left out.
    """
    # the lambdas bind loop variables as default values: a closure would see the last of each loop
    grid = pictures.first_images(artefacts.images)
    summaries = {name: tables.protocol(artefacts, name) for name in artefacts.evaluation}
    functions = {"distilled": lambda p: images(p, grid)}
    if summaries:
        functions["overview"] = lambda p: overview(p, grid, next(iter(summaries.values())))
    for name, table in summaries.items():
        for network, lines in tables.groups_of(table, "network"):
            functions[f"accuracy_{name}_{network}"] = lambda p, t=lines: bars(p, t)
    for column in ("loss", "guidance"):
        if column in artefacts.curve and artefacts.curve[column].notna().to_numpy().any():
            functions[f"distill_{column}"] = lambda p, c=column: distillation(p, artefacts.curve, c)
    for name, measured in artefacts.evaluation.items():
        curves: Any = measured.curves  # an evaluation has them
        functions[f"training_{name}"] = lambda p, c=curves: training(p, c)
    for name, pool in artefacts.pools.items():
        for column in TEACHER_CURVES:
            if pool.curves[column].notna().to_numpy().any():
                functions[f"teacher_{name}_{column}"] = lambda p, t=pool.curves, c=column: teacher(p, t, c)
    if (spreads := tables.norms(artefacts.pools)) is not None:
        for column in NORM_CURVES:
            functions[f"norms_{column}"] = lambda p, c=column: norms(p, spreads, c)
    return functions


def png(draw: Draw) -> bytes:
    """Draws a figure in the light palette and returns it as a PNG file."""
    return _rendered(draw, LIGHT, "png")


def svg(draw: Draw) -> tuple[bytes, bytes]:
    """Draws a figure and returns it as SVG files (light, dark) without a background.

    The dark one is the light one with other colours, which takes half the time of drawing it anew.
    """
    light = _rendered(draw, LIGHT, "svg")
    dark = re.sub(rb"#[0-9a-f]{6}", lambda match: DARKER.get(match[0], match[0]), light)
    return light, dark


def _rendered(draw: Draw, palette: Palette, kind: str) -> bytes:
    """Draws a figure and returns it as a file of ``kind`` (``png`` or ``svg``), without date or version in it."""
    out = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with _style(palette):
        figure = draw(palette)
        lettering.legible(figure)
        figure.savefig(out, format=kind, dpi=DPI, metadata=metadata, transparent=kind == "svg")
    return out.getvalue()


@contextlib.contextmanager
def _style(palette: Palette) -> Iterator[None]:
    settings = {
        "figure.facecolor": palette.paper,
        "savefig.facecolor": palette.paper,
        "axes.facecolor": "none",
        "axes.edgecolor": palette.rule,
        "axes.labelcolor": palette.muted,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "font.size": 8.5,
        "text.color": palette.ink,
        "xtick.color": palette.rule,
        "xtick.labelcolor": palette.muted,
        "ytick.color": palette.rule,
        "ytick.labelcolor": palette.muted,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "svg.hashsalt": "report",  # else the identifiers in an SVG are random
        "text.parse_math": False,  # names are made of data: `$` is a character
    }
    with matplotlib.style.context(["default", settings]):
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, independent of pyplot's state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def images(palette: Palette, grid: Sequence[pictures.ClassImages]) -> Figure:
    """Figure of distilled images, a column for each class; each pixel becomes a square of whole pixels in a PNG."""
    canvas, names = pictures.canvas(grid)
    margin = 24
    figure = Figure(figsize=((canvas.shape[1] + 2 * margin) / DPI, (canvas.shape[0] + 2 * margin) / DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-margin, canvas.shape[1] + margin)
    axes.set_ylim(canvas.shape[0] + margin, -margin)
    _tiles(axes, palette, canvas, names)
    return figure


def _tiles(
    axes: "Axes", palette: Palette, canvas: np.ndarray, names: Sequence[tuple[str, float, float]], size: float = 6.5
) -> None:
    axes.imshow(canvas, interpolation="nearest", extent=(0, canvas.shape[1], canvas.shape[0], 0), aspect="equal")
    axes.axis("off")
    for name, x, y in names:
        axes.text(x, y, name, ha="center", va="baseline", fontsize=size, color=palette.muted)


def bars(palette: Palette, lines: "pd.DataFrame") -> Figure:
    """Figure of the mean accuracy and population std of every set, in percent.

    Args:
        palette: colours.
        lines: those of ``tables.summary`` for one network.
    """
    figure = blank(WIDTH, 0.29 * len(lines) + 0.3)
    _bars(figure.subplots(), palette, lines)
    return figure


def _bars(axes: "Axes", palette: Palette, lines: "pd.DataFrame") -> None:
    """Draws labelled bars into ``axes``; the labels replace a scale."""
    colours = {"distilled": palette.accent, "control": palette.control}
    for y, line in enumerate(reversed(list(tables.lines_of(lines)))):
        is_distilled = line.set == "distilled"
        several = line.n > 1
        axes.barh(y, line.mean, height=0.62, color=colours.get(line.set, palette.plain))
        if several:
            axes.errorbar(line.mean, y, xerr=line.std, color=palette.ink, elinewidth=0.9, capsize=2, capthick=0.9)
        axes.annotate(
            f"{line.mean:.1f}" + (f" ± {line.std:.1f}" if several else ""),
            (line.mean + line.std, y),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=palette.ink if is_distilled else palette.muted,
            fontweight="bold" if is_distilled else "normal",
        )
    axes.set_yticks(range(len(lines)), [tables.SETS[s] for s in reversed(lines["set"].tolist())])
    axes.tick_params(axis="y", length=0, labelcolor=palette.ink)
    axes.xaxis.set_visible(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    most: Any = (lines["mean"] + lines["std"]).max()
    axes.set_xlim(0, 1.3 * most)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_title(f"{lines['network'].iloc[0]}, test accuracy in %", color=palette.muted)


def distillation(palette: Palette, curve: "pd.DataFrame", column: str) -> Figure:
    """Figure of a curve of the distillation over iterations.

    Args:
        palette: colours.
        curve: the method's curve.csv.
        column: ``loss``, which the method minimised, or ``guidance``.
    """
    return _curves(palette, "iteration", column, [("", palette.accent, "-", curve["iteration"], curve[column])])


def training(palette: Palette, curves: "pd.DataFrame") -> Figure:
    """Figure of the training loss of the evaluated networks, the mean over seeds; the control is dashed.

    Colours distinguish networks or, if there is only one, the sets.
    """
    networks = list(dict.fromkeys(curves["network"]))
    several = len(networks) > 1
    colours = {"distilled": palette.accent, "control": palette.control}
    lines = []
    for (kind, network), group in tables.groups_of(curves, ["set", "network"]):
        mean = tables.means(group, "epoch", "loss")
        colour = _line(palette, networks.index(network)) if several else colours[kind]
        name = {"distilled": network, "control": ""}[kind] if several else tables.SETS[kind]
        lines.append((name, colour, "--" if kind == "control" else "-", mean.index, mean))
    return _curves(palette, "epoch", "training loss", lines)


def teacher(palette: Palette, curves: "pd.DataFrame", column: str) -> Figure:
    """Figure of a training curve of a pool, the mean over the teachers of each network.

    Args:
        palette: colours.
        curves: the pool's curves.csv.
        column: a key of ``TEACHER_CURVES``.
    """
    networks = list(dict.fromkeys(curves["network"]))
    lines = []
    for i, network in enumerate(networks):
        mean = tables.means(tables.rows_where(curves, curves["network"] == network), "epoch", column)
        lines.append((network if len(networks) > 1 else "", _line(palette, i), "-", mean.index, mean))
    return _curves(palette, "epoch", TEACHER_CURVES[column], lines)


def norms(palette: Palette, spreads: "pd.DataFrame", column: str) -> Figure:
    """Figure of the spread of the channels' statistics in each batch norm, a line for each pool and network.

    Args:
        palette: colours.
        spreads: the table of ``tables.norms``.
        column: a key of ``NORM_CURVES``.
    """
    groups = list(tables.groups_of(spreads, ["pool", "network"]))
    names = [f"{pool}: {network}" if len(groups) > 1 else "" for (pool, network), _ in groups]
    lines = [
        (name, _line(palette, i), "-", lines["layer"], lines[column])
        for i, (name, (_, lines)) in enumerate(zip(names, groups, strict=True))
    ]
    return _curves(palette, "batch norm, from the image on", NORM_CURVES[column], lines)


def _line(palette: Palette, i: int) -> str:
    return palette.lines[i % len(palette.lines)]


def _curves(palette: Palette, xlabel: str, ylabel: str, lines: Sequence[tuple[str, str, str, Any, Any]]) -> Figure:
    """Figure of lines, each (label, colour, dash, x, y); a line with an empty label is not in the legend.

    The scale is logarithmic if all values are positive and the largest is more than 30 times the least.
    """
    figure = blank(WIDTH, 2.5)
    axes = figure.subplots()
    handles = {}
    for label, colour, dash, x, y in lines:
        x, y = _thin(x), _thin(y)
        # a single epoch is a point, which a line would not show
        (line,) = axes.plot(x, y, dash, color=colour, marker="o" if len(x) == 1 else None)
        handles.setdefault(label, line)
    values = np.concatenate([np.asarray(y, float) for *_, y in lines])
    values = values[np.isfinite(values)]  # a network that diverged has others
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=palette.rule, linewidth=0.6)
    axes.margins(x=0.02)
    if len(handles) > 1:
        handles.pop("", None)
        axes.legend(list(handles.values()), list(handles), fontsize=7.5, labelcolor=palette.ink)
    return figure


def _thin(values: Any) -> list[float]:
    """A curve as at most ``POINTS`` means of neighbouring values."""
    values = np.asarray(values, float)
    return [part.mean() for part in np.array_split(values, min(POINTS, len(values)))]


def overview(palette: Palette, grid: Sequence[pictures.ClassImages], table: "pd.DataFrame") -> Figure:
    """Figure of the result at a glance: the distilled images beside the accuracies of the first network."""
    canvas, names = pictures.canvas(grid)
    lines = tables.rows_where(table, table["network"] == table["network"].iloc[0])
    figure = blank(9.6, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _tiles(left, palette, canvas, names, 7 if len({x for _, x, _ in names}) <= 5 else 5)
    _bars(right, palette, lines)
    return figure
