"""Dataset distillation: every method behind one contract, one evaluation, and work that survives a kill."""

import os

# OpenMP's threads spin while they wait, which small networks do between any two operations: beside other work a student of
# the default then made 16 steps a second where waiting threads made 118. torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
