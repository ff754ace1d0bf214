"""Results side by side: what ``python -m stages.compare`` reads, computes and writes. No stage depends on it."""
