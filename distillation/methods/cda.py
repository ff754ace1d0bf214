"""CDA: recovery with a curriculum (Yin and Shen, TMLR 2024, arXiv 2311.18838).

SRe2L's loop, in which crops begin with nearly whole images and end as small as ``crop``: their least area falls along a
cosine over the first ``milestone`` of the iterations.
"""

from pydantic import Field

from distillation.methods.families.recover import Recover, RecoverSettings
from distillation.training.schedules import cosine


class Settings(RecoverSettings):
    """The settings of CDA.

    Attributes:
        crop: final least area of a crop, as a fraction of the image.
        milestone: fraction of the iterations over which the least area falls from 1 to ``crop``.
    """

    crop: float = Field(gt=0, le=1)
    milestone: float = Field(gt=0, le=1)


class CDA(Recover[Settings]):
    """Recovery whose crops shrink during the optimisation."""

    def lowest(self, iteration: int) -> float:
        """Returns the least area of a crop at an iteration, as a fraction of the image."""
        settings = self.settings
        done = min(iteration / (settings.milestone * settings.iterations), 1)
        return cosine(done, last=settings.crop)


METHOD = CDA
