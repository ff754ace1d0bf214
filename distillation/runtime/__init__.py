"""What every stage stands on: devices, generators, checkpoints, locks and tasks. Imports nothing of ours."""
