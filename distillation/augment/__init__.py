"""Differentiable augmentations of whole batches."""
