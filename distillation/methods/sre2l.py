"""SRe2L: squeeze, recover and relabel (Yin, Xing and Shen, NeurIPS 2023, arXiv 2306.13092).

Here is the second of its three steps, recovery, see ``families.recover``. The first, squeezing, is the training of
``method.teacher`` on the real images; the third, relabelling, is the stage relabel with ``relabel.kind`` ``fkd`` or
``online``.
"""

from distillation.methods.families.recover import Recover, RecoverSettings

Settings = RecoverSettings
METHOD = Recover
