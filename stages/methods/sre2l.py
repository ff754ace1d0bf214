"""SRe2L: squeeze, recover and relabel (Yin, Xing and Shen, NeurIPS 2023, arXiv 2306.13092).

Its squeezing is the training of ``method.teacher``, its relabelling the kind ``fkd`` or ``online`` of relabel.
"""

from stages.methods.shared.recover import Recover, RecoverSettings

Settings = RecoverSettings
METHOD = Recover
