"""Results side by side: the parts of ``python -m distillation compare``. No stage depends on them."""
