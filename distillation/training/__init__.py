"""Supervised training of one network in steps that can be interrupted, and the parts that all training loops share."""
