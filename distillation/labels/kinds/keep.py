"""The labels that the method made itself."""

from distillation.params import Section


class Settings(Section):
    """Has no settings; no teacher labels, so there is no ``label``."""
