"""SC-DD: recovery from a self-supervised network (Zhou et al., 2024, arXiv 2404.07976).

The loop is that of SRe2L. What differs is the teacher: a network trained without labels, then a linear probe on its
frozen features. Its batch norms carry more information about the images than a supervised network's. Any pool whose
first network has batch norms and classifies will do; ``relabel.teacher`` may be another, as in the paper's ImageNet
experiments.
"""

from distillation.methods.families.recover import Recover, RecoverSettings

Settings = RecoverSettings
METHOD = Recover
