"""DSA: gradient matching under siamese augmentation (Zhao and Bilen, ICML 2021); see ``families.matching``.

Each update draws one augmentation for each class, the same for its real and its synthetic images (equation 4). While
the network is trained, every synthetic image has parameters of its own.
"""

from distillation.methods.families import matching


class Settings(matching.Settings):
    """The settings of DSA: those of ``matching.Settings``.

    The published runs start from real images (``method.init``).
    """


class DSA(matching.Matching):
    """Gradient matching under one augmentation for each class and update."""

    siamese = True


METHOD = DSA
