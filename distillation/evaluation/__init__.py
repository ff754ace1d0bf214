"""Measurement of a distilled set: students, transfer to other datasets, knowledge distillation, assessments."""
