"""SC-DD: recovery from a self-supervised network (Zhou et al., 2024, arXiv 2404.07976).

The loop is that of SRe2L, see ``families.recover``. What differs is the teacher: a network trained without labels, then
a linear probe on its frozen features, which gives the logits. By the paper, the batch norms of such a network carry
more information about the images than those of a supervised one. Any pool whose first network has batch norms and
classifies will do as ``method.teacher``. ``relabel.teacher``, the pool that labels the recovered images, may be
another, as in the paper's ImageNet experiments.
"""

from distillation.methods.families.recover import Recover, RecoverSettings

Settings = RecoverSettings
METHOD = Recover
