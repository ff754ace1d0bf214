"""Results side by side: what ``python -m distillation compare`` reads, computes and writes. No stage depends on it."""
