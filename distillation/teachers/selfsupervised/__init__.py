"""The shared parts of self-supervised objectives: views, encoders, the training loop, and the measures after it.

An objective (``objectives.moco_v2`` and others) defines its settings and a ``model.Model``; ``teacher.objective`` makes
an Objective of them. ``teacher.make`` trains the model by ``loop.Loop`` on ``views``, then tests the frozen features
and trains a linear classifier on them by ``probe``.
"""
