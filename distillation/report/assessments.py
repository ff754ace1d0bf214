"""Titles and meanings of the assessments, and their table in the report."""

from typing import TYPE_CHECKING, Any

from distillation.console import format as words
from distillation.report import tables

if TYPE_CHECKING:
    from distillation.report.reading import Measured

# Name to (title, what it is), in the order of the page; ``fresh_`` names the same under random networks.
MEANINGS = {
    "accuracy": ("accuracy, %", "images that a model trained on the real data puts into their class (CLOM)"),
    "cross_entropy": ("cross-entropy", "of those models on the images: low where they are sure of the class"),
    "entropy": ("entropy", "of their predictions, in nats: low where they are sure of any class"),
    "gradient_distance": (
        "gradient distance",
        "cosine distance of the weights’ gradients on real and these images (DC)",
    ),
    "feature_distance": ("feature distance", "squared distance of the class means of features (DM)"),
    "kernel_distance": ("kernel distance", "squared MMD of a class’s features, the cubic kernel of KID"),
    "fresh_gradient_distance": ("gradient distance, random networks", "the same before any training"),
    "fresh_feature_distance": ("feature distance, random networks", "the same before any training"),
    "fresh_kernel_distance": ("kernel distance, random networks", "the same before any training"),
    "feature_diversity": ("diversity of features", "mean distance of two images of a class; none with one image each"),
    "pixel_diversity": ("diversity of pixels", "the same of pixels, raw"),
    "pixel_mean": ("mean of pixels", "raw: 0 is black, 1 is white"),
    "pixel_std": ("standard deviation of pixels", "raw"),
    "outside": ("outside the range, %", "raw values below 0 or above 1, where no real pixel is"),
    "total_variation": ("total variation", "mean absolute difference of neighbouring pixels, raw"),
}


def section(name: str, measured: "Measured") -> dict[str, Any]:
    """Returns the table of one pool for the page.

    Args:
        name: name of the pool.
        measured: its folder of assessments.

    Returns:
        ``name``; ``sets``, pairs of key and title; ``rows``, one for each assessment that was made, with ``title``,
        ``meaning`` and ``cells``, one for each set: ``mean``, ``std`` and ``n`` as text, or None without a value.
    """
    table = tables.assessments(measured)
    lines = {(line.assessment, line.set): line for line in tables.lines_of(table)}
    sets = list(dict.fromkeys(table["set"]))
    under_models = set(measured.rows.dropna(subset="model")["assessment"])
    rows = [
        {"title": title, "meaning": meaning, "cells": [_cell(lines[key, one], key in under_models) for one in sets]}
        for key, (title, meaning) in MEANINGS.items()
        if (key, sets[0]) in lines
    ]
    return {"name": name, "sets": [(one, tables.SETS[one]) for one in sets], "rows": rows}


def _cell(line: tables.Line, under_models: bool) -> dict[str, Any] | None:
    """The mean over the models, its spread if there are several, and their number; no number if none was needed."""
    if not line.n:
        return None
    std = words.digits(line.std) if line.n > 1 else ""
    return {"mean": words.digits(line.mean), "std": std, "n": line.n if under_models else ""}
