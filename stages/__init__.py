"""One standalone script per stage of dvc.yaml, and nothing else.

A stage is run as ``python -m stages.NAME``. This file prepares that process before it imports torch, which takes
seconds: a signal ends it in a sentence, and it ends with the DVC that started it.
"""

import sys

from distillation.runtime import parent, signals

if sys.argv[0] == "-m":  # what Python puts there until it has found the script to run; nothing large is imported yet
    signals.end_in_a_sentence()
    parent.tie_to_dvc()
