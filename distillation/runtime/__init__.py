"""The base of every stage: devices, generators, checkpoints, locks and tasks. Imports no other package of the project."""
