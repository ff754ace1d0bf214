"""Paths of the outputs that one stage writes and others read, relative to the repository's root."""

from pathlib import Path

DATASET = Path("data/real/dataset")
REAL = Path("data/real")
POOLS = Path("models/teachers")
DISTILLED = Path("data/distilled")
RELABELED = Path("data/relabeled")
REPORTS = Path("reports")
NONE = Path("data/none")  # the value of a parameter that names a file while no file is used

SET_FILE, CONTROL_FILE = "distilled.safetensors", "control.safetensors"
# By name, the set that is evaluated and, if a teacher labelled it, random real images with labels of the same teacher.
LABELLED = {"distilled": RELABELED / SET_FILE, "control": RELABELED / CONTROL_FILE}
