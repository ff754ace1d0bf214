"""CDA: recovery with a curriculum (Yin and Shen, TMLR 2024, arXiv 2311.18838).

The loop is that of SRe2L (``families.recover``) with random crops whose least area changes: from 1, the whole image, it
falls along a cosine to ``crop`` over the first ``milestone`` of the iterations, and stays there. The greatest area is
always 1.
"""

from pydantic import Field

from distillation.methods.families.recover import Recover, RecoverSettings
from distillation.training.schedules import cosine


class Settings(RecoverSettings):
    """The settings of CDA: those of recovery, with a curriculum of crops.

    Attributes:
        crop: final least area of a crop, as a fraction of the image, above 0.
        milestone: fraction of the iterations over which the least area falls from 1 to ``crop``.
    """

    crop: float = Field(gt=0, le=1)
    milestone: float = Field(gt=0, le=1)


class CDA(Recover[Settings]):
    """Recovery whose random crops may become smaller during the optimisation of each block."""

    def lowest(self, iteration: int) -> float:
        """Returns the least area of a crop, as a fraction of the image, at an iteration of a block, counted from 0."""
        settings = self.settings
        done = min(iteration / (settings.milestone * settings.iterations), 1)
        return cosine(done, last=settings.crop)


METHOD = CDA
