"""One standalone script per stage of dvc.yaml, and nothing else."""

import sys

from distillation.runtime import parent, signals

if sys.argv[0] == "-m":  # what Python puts there until it has found the script to run; nothing large is imported yet
    signals.end_in_a_sentence()
    parent.tie_to_dvc()
