"""Paths of the outputs that one stage writes and others read, relative to the repository's root."""

from pathlib import Path

DATASET = Path("data/real/dataset")  # the folder of the RealSet of the section dataset
REAL = Path("data/real")  # above it; beside it, sources/NAME and targets/NAME
POOLS = Path("models/teachers")  # a folder for each pool
DISTILLED = Path("data/distilled")  # the set as the method made it
RELABELED = Path("data/relabeled")  # the set with its final labels, and its control
REPORTS = Path("reports")
NONE = Path("data/none")  # the value of a parameter that names a file while no file is used

SET_FILE, CONTROL_FILE = "distilled.safetensors", "control.safetensors"
# By name, the set that is evaluated and, if a teacher labelled it, random real images with labels of the same teacher.
LABELLED = {"distilled": RELABELED / SET_FILE, "control": RELABELED / CONTROL_FILE}
