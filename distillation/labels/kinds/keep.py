"""The labels that the method made."""

from distillation.params import Section


class Settings(Section):
    """Nothing to set: no teacher labels, so that there is no ``label``."""
