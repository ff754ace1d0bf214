"""Relabelling: labels of the distilled images by a pool of teachers, kind by kind, and their control."""
