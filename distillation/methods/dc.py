"""DC: dataset condensation with gradient matching (Zhao, Mopuri and Bilen, ICLR 2021); see ``families.matching``."""

from distillation.methods.families import matching


class Settings(matching.Settings):
    """The settings of DC: those of ``matching.Settings``.

    The published runs start from noise (``method.init``), and take ``lr_img`` 0.01 where the network is an MLP.
    """


class DC(matching.Matching):
    """Gradient matching without augmentation, neither of the matched images nor in the training of the network."""


METHOD = DC
