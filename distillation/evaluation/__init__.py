"""Measurement of a distilled set: students trained on it, transfer to other datasets, knowledge distillation, assessments."""
