"""Supervised training of one network in steps that can be interrupted, and the parts that all training loops share.

Supervised teachers (``distillation.teachers``) and students (``distillation.evaluation``) are trained by
``loop.Training``. ``resume.complete`` runs every long loop, with checkpoints between its units of work.
"""
