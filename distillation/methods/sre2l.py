"""SRe2L: squeeze, recover and relabel (Yin, Xing and Shen, NeurIPS 2023, arXiv 2306.13092).

Its squeezing is the training of ``method.teacher``, its relabelling the kind ``fkd`` or ``online`` of relabel.
"""

from distillation.methods.families.recover import Recover, RecoverSettings

Settings = RecoverSettings
METHOD = Recover
