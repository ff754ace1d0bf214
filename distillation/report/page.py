"""The report as one self-contained HTML page: no script, no link, images inline."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from PIL import Image

from distillation.console import format as words
from distillation.methods.base import weighs
from distillation.report import assessments, figures, pictures, skipped, tables, transfers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from distillation.report.reading import Artefacts, Pool

Picture = dict[str, str]  # the data URIs of a figure: ``light`` and ``dark``
VIEW = 96  # house: pixels of a side; larger images are reduced to it, so that the page stays small
RULES = {
    "last": "last epoch",
    "best": "best epoch on held-out training images",
    "best_test": "best epoch on the test set itself (as published, optimistic)",
}


def context(artefacts: "Artefacts") -> dict[str, Any]:
    """Draws the figures of the page and collects all that its template shows.

    Args:
        artefacts: what the other stages left.

    Returns:
        Variables of ``page.html.j2`` by name: text, tables of text, and figures as data URIs in both colour schemes.
        Numbers are formatted already.
    """
    drawings = figures.drawings(artefacts)
    plots = {name: _picture(draw) for name, draw in drawings.items() if name not in ("overview", "distilled")}
    distilled = artefacts.distilled
    classes = pictures.first_images(artefacts.images)
    return {
        "method": distilled["method"],
        "dataset": distilled["dataset"],
        "seed": distilled["seed"],
        "alpha": words.value(distilled["alpha"]) if weighs(distilled["alpha"]) else "",
        "sentence": sentence(artefacts),
        "tiles": _tiles(artefacts),
        "classes": [_class(one) for one in classes],
        "layout": _layout(max(len(one.images) for one in classes)),
        "extent": pictures.extent(artefacts.images),
        "protocols": [_protocol(artefacts, name, plots) for name in artefacts.evaluation],
        "assessments": [
            assessments.section(name, results) | {"guided": _guided(artefacts, name)}
            for name, results in artefacts.assessments.items()
        ],
        "transfers": [
            *(t for name, results in artefacts.transfers.items() for t in transfers.section(name, results, _cell)),
            *(t for name, results in artefacts.kd.items() for t in transfers.kd_section(name, results, _cell)),
        ],
        "curves": [(name, plots[f"distill_{name}"]) for name in ("loss", "guidance") if f"distill_{name}" in plots],
        "pools": [_pool(name, pool, plots) for name, pool in artefacts.pools.items()],
        "norms": _plotted(plots, "norms", figures.NORM_CURVES),
        "cost": _cost(artefacts),
        "size": _size(artefacts),
        "labels": _labels(artefacts),
        "skipped": skipped.sections(artefacts),
        "parameters": _parameters(artefacts),
    }


def render(context: Mapping[str, Any]) -> str:
    """Renders the page from what ``context`` returns, as one HTML document; writes nothing."""
    return template("page.html.j2").render(context)


def template(name: str, *folders: Path) -> jinja2.Template:
    """Loads a template of Jinja, which escapes all text and raises for a variable that is not defined.

    Args:
        name: name of its file.
        folders: where it is looked for before this package, whose templates and style sheet it may include.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def sentence(artefacts: "Artefacts") -> str:
    """The result in one sentence: of the first protocol and network beside random images and the whole set.

    Without protocols, it is that of the first target of transfer, or says that nothing was evaluated.
    """
    if not artefacts.evaluation:
        return _without_classes(artefacts)
    lines, network = _first(artefacts)
    images, distilled = artefacts.images, lines["distilled"]
    size, each = len(images.images), ""
    if images.labels is not None:
        counts = images.labels.bincount(minlength=len(images.info["classes"]))
        each = f" ({counts[0]} per class)" if (counts == counts[0]).all() else ""
    verb = "train" if size != 1 else "trains"
    spread = f" ± {distilled.std:.1f}" if distilled.n > 1 else ""
    result = f"{words.percent(distilled.mean)}{spread} ({words.runs(distilled.n)}) on {artefacts.distilled['dataset']}"
    others = []
    if "random" in lines:
        draws = _draws(artefacts, next(iter(artefacts.baseline)))
        verbs = "draws give" if draws != 1 else "draw gives"
        others.append(f"{words.number(draws)} random {verbs} {words.percent(lines['random'].mean)}")
    if "whole" in lines:
        others.append(f"the whole set {'' if others else 'gives '}{words.percent(lines['whole'].mean)}")
    compared = f"; {', '.join(others)}" if others else ""
    return f"{words.count(size, 'image')}{each} {verb} {network} to {result}{compared}."


def _without_classes(artefacts: "Artefacts") -> str:
    """The result in one sentence if no protocol evaluates the set: that of the first target and network."""
    images = f"{words.count(len(artefacts.images.images), 'image')} of {artefacts.distilled['dataset']}"
    if not artefacts.transfers:
        return f"{images}; no protocol has evaluated them."
    target, measured = next(iter(artefacts.transfers.items()))
    rows = tables.rows_where(measured.rows, measured.rows["protocol"] == measured.rows["protocol"].iloc[0])
    network = rows["network"].iloc[0]
    lines = {line.set: line for line in tables.lines_of(tables.summary(rows)) if line.network == network}
    distilled, scratch = lines["distilled"], lines["scratch"]
    spread = f" ± {distilled.std:.1f}" if distilled.n > 1 else ""
    return (
        f"Pre-trained on {images}, {network} reaches {words.percent(distilled.mean)}{spread} ({words.runs(distilled.n)}) "
        f"on {target}; from scratch {words.percent(scratch.mean)}."
    )


def _first(artefacts: "Artefacts") -> tuple[dict[str, tables.Line], str]:
    """The lines of the summary of the first protocol and its first network by set, and the name of that network."""
    name, measured = next(iter(artefacts.evaluation.items()))
    network = measured.rows["network"].iloc[0]
    table = tables.protocol(artefacts, name)
    return {line.set: line for line in tables.lines_of(table) if line.network == network}, network


def _draws(artefacts: "Artefacts", name: str) -> int:
    """The number of random draws in the baseline of a protocol."""
    draws: Any = artefacts.baseline[name].rows.query("set == 'random'")["draw"]
    return draws.nunique()


def _tiles(artefacts: "Artefacts") -> list[tuple[str, str, str]]:
    """Key figures as (name, value, caption)."""
    total, size = _whole_images(artefacts), len(artefacts.images.images)
    of = f"of {words.count(total)}, {words.share(size, total)}" if total else "distilled"
    if not artefacts.evaluation:
        return [("Images", words.count(size), of)]
    lines, network = _first(artefacts)
    name = next(iter(artefacts.evaluation))
    distilled = lines["distilled"]
    tiles = [("Test accuracy", words.percent(distilled.mean), f"{network}, {name}, {words.runs(distilled.n)}")]
    gains = tables.differences(artefacts.evaluation[name].rows, artefacts.baseline[name].rows)
    for line in tables.lines_of(tables.rows_where(gains, gains["network"] == network)):
        tiles.append(("Over random images", words.points(line.points), f"points{words.error(line.error)}"))
    if "whole" in lines:
        whole = lines["whole"].mean
        reached = words.percent(100 * distilled.mean / whole)
        tiles.append(("Of the whole set’s accuracy", reached, f"which is {words.percent(whole)}"))
    return [*tiles, ("Images", words.count(size), of)]


def _class(one: pictures.ClassImages) -> dict[str, Any]:
    """Name and images, as data URIs, of a class."""
    return {"name": one.name, "images": [_uri(_png(image), "image/png") for image in one.images]}


def _layout(images: int) -> dict[str, int]:
    """The number of classes side by side, on a wide and on a narrow screen, for so many ``images`` of each class."""
    wide, narrow = {1: (10, 5), 2: (5, 2), 3: (5, 2)}.get(images, (2, 1))
    return {"images": images, "wide": wide, "narrow": narrow}


def _png(array: "np.ndarray") -> bytes:
    """An image (H, W, 3) uint8 as a PNG file, reduced to ``VIEW`` pixels of a side if it is larger."""
    image = Image.fromarray(array)
    if max(image.size) > VIEW:
        image = image.resize((VIEW, VIEW), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "png", optimize=True)
    return out.getvalue()


def _uri(content: bytes, kind: str) -> str:
    """A file as a data URI, so that the page needs no other file; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _picture(draw: figures.Draw) -> Picture:
    """A figure as data URIs for light and for dark screens."""
    light, dark = (_uri(content, "image/svg+xml") for content in figures.svg(draw))
    return {"light": light, "dark": dark}


def _protocol(artefacts: "Artefacts", name: str, plots: Mapping[str, Picture]) -> dict[str, Any]:
    """The part of the page about one protocol: tables of accuracies, gains over random images, and figures."""
    measured, baseline = artefacts.evaluation[name], artefacts.baseline[name]
    table = tables.protocol(artefacts, name)
    networks = list(dict.fromkeys(table["network"]))
    sizes = _sizes(artefacts, name)
    gains = {line.network: line for line in tables.lines_of(tables.differences(measured.rows, baseline.rows))}
    best = tables.best_tests(artefacts, name)
    curves: Any = measured.curves  # an evaluation has them
    return {
        "name": name,
        "labels": measured.info["labels"],
        "checkpoint": measured.info["checkpoint"],
        "rule": RULES[measured.info["checkpoint"]],
        "networks": networks,
        "rows": _rows(table, networks, sizes),
        "best": [] if best is None else _rows(best, networks, sizes),
        "test_every": measured.info.get("test_every"),
        "gains": [_gain(gains.get(network)) for network in networks],
        "controlled": bool((curves["set"] == "control").any()),
        "bars": [plots[f"accuracy_{name}_{network}"] for network in networks],
        "training": plots[f"training_{name}"],
    }


def _rows(table: "pd.DataFrame", networks: Sequence[str], sizes: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each set of a summary, with a cell for each network."""
    cells = {(line.set, line.network): line for line in tables.lines_of(table)}
    return [
        {"set": s, "name": tables.SETS[s], "images": sizes[s], "cells": [_cell(cells.get((s, n))) for n in networks]}
        for s in dict.fromkeys(table["set"])
    ]


def _guided(artefacts: "Artefacts", pool: str) -> bool:
    """Whether the pool guided the distillation, so that it does not assess its images independently."""
    return weighs(artefacts.distilled["alpha"]) and artefacts.distilled["settings"]["guidance"]["teacher"] == pool


def _sizes(artefacts: "Artefacts", name: str) -> dict[str, str]:
    """The number of images of each set in words; empty if its stage recorded none."""
    size, draws = len(artefacts.images.images), _draws(artefacts, name)
    counts = {"distilled": size, "control": size, "whole": _whole_images(artefacts)}
    counts |= artefacts.baseline[name].info["images"]
    sizes = {s: words.count(counts[s], "image") if counts.get(s) else "" for s in tables.SETS}
    return sizes | {"random": f"{sizes['random']}, {words.count(draws, 'draw')}"}


def _cell(line: tables.Line | None) -> dict[str, Any] | None:
    """A line of a summary: ``mean`` and ``std`` as text, ``n``, ``diverged``; None if no network has a result."""
    if line is None or not line.n:
        return None
    std, diverged = f"{line.std:.2f}" if line.n > 1 else "", getattr(line, "diverged", 0)
    return {"mean": f"{line.mean:.2f}", "std": std, "n": line.n, "diverged": diverged}


def _gain(line: tables.Line | None) -> dict[str, str] | None:
    """A line of ``tables.differences`` as text."""
    return None if line is None else {"points": words.points(line.points), "error": words.error(line.error)}


def _pool(name: str, pool: "Pool", plots: Mapping[str, Picture]) -> dict[str, Any]:
    """The part of the page about one pool: its networks, their accuracies and training curves."""
    neighbours = {line.network: _cell(line) for line in tables.lines_of(tables.neighbours(pool))}
    rows = [
        {
            "network": line.network,
            "kept": f"{line.checkpoint}, epoch {line.epoch}",
            "parameters": words.count(line.parameters),
            "cells": [_cell(line), neighbours[line.network]] if neighbours else [_cell(line)],
        }
        for line in tables.lines_of(tables.teachers(pool))
    ]
    info = pool.info
    return {
        "name": name,
        **{key: info[key] for key in ("dataset", "objective", "precision")},
        "measures": ["Test accuracy, %", "Nearest neighbours, %"][: 2 if neighbours else 1],
        "rows": rows,
        "curves": _plotted(plots, f"teacher_{name}", figures.TEACHER_CURVES),
    }


def _plotted(plots: Mapping[str, Picture], name: str, curves: Mapping[str, str]) -> list[tuple[str, Picture]]:
    """(label, picture) of those of ``curves`` that have a plot."""
    return [(label, plots[key]) for column, label in curves.items() if (key := f"{name}_{column}") in plots]


def _cost(artefacts: "Artefacts") -> list[tuple[str, list[list[str]]]]:
    """Tables of the counted work as (title, rows): of the distillation and of each protocol."""
    cost = artefacts.distilled["cost"]
    rows = [
        ["Updates", words.count(cost["updates"])],
        ["Images passed forward", words.count(cost["images_forward"])],
        ["Images passed backward", words.count(cost["images_backward"])],
        ["Arithmetic", words.arithmetic(cost["gflop"])],
    ]
    parts = [("Distillation", rows)]
    for name, measured in artefacts.evaluation.items():
        cost = measured.info["cost"]
        parts.append(
            (
                f"Evaluation, {name}",
                [["Steps", words.count(cost["steps"])], ["Arithmetic", words.arithmetic(cost["gflop"])]],
            )
        )
    return parts


def _size(artefacts: "Artefacts") -> list[list[str]]:
    """Rows that compare the bytes of the relabelled set with those of the whole training set, at one byte a pixel value."""
    size = artefacts.labels["bytes"]
    total = size["images"] + size["labels"]
    form = artefacts.labels["pixels"]
    rows = [[f"Distilled images, as {form}", words.size(size["images"])], ["Their labels", words.size(size["labels"])]]
    count = _whole_images(artefacts)
    if count:
        label = 1 if len(artefacts.images.info["classes"]) <= 256 else 2
        whole = count * (artefacts.images.images[0].numel() + label)
        rows.append(["Whole training set, 8 bits a value", words.size(whole)])
        rows.append(["Share of the whole", words.share(total, whole)])
    return rows


def _whole_images(artefacts: "Artefacts") -> int | None:
    """The number of training images of the dataset; None if the stage whole did not record it."""
    return artefacts.whole.info.get("images", {}).get("whole")


def _labels(artefacts: "Artefacts") -> list[list[str]]:
    """Rows (name, value) about the labels: their kind, who gave them, and whether there is a control."""
    info = artefacts.labels
    rows = [["Relabelling", info["kind"]], ["Kind", info["labels"]]]
    if teacher := info["teacher"]:
        rows.append(["Teacher", f"pool {teacher['pool']}: {', '.join(teacher['networks'])}"])
        for name, key in (("Its test accuracy", "accuracy"), ("Agreement with the classes", "agreement")):
            rows.append([name, "–" if teacher[key] is None else words.percent(teacher[key])])
    elif info["labels"] == "features":
        rows.append(["Teacher", f"pool {artefacts.images.info['teacher']}, as the method learnt it"])
    else:
        rows.append(["Teacher", "none: each image has the class it was made for"])
    control = any((m.rows["set"] == "control").any() for m in artefacts.evaluation.values())
    rows.append(["Control", "random real images, labelled the same way" if control else "not run"])
    return rows


def _parameters(artefacts: "Artefacts") -> list[tuple[str, list[tuple[str, str]]]]:
    """The settings that each stage recorded, as (stage, sorted pairs of key and value)."""
    sections = [("distill", artefacts.distilled), ("relabel", artefacts.labels)]
    sections += [(f"teacher, {name}", pool.info) for name, pool in artefacts.pools.items()]
    sections += [(f"evaluate, {name}", measured.info) for name, measured in artefacts.evaluation.items()]
    sections += [(f"baseline, {name}", measured.info) for name, measured in artefacts.baseline.items()]
    sections += [("whole", artefacts.whole.info)]
    sections += [(f"assess, {name}", measured.info) for name, measured in artefacts.assessments.items()]
    return [(name, sorted(_flat(info["settings"]))) for name, info in sections]


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yields the dotted key and the text of every setting, at any depth."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", words.value(value)
