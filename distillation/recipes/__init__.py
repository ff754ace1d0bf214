"""Published settings and results, for ``python -m distillation recipes`` and ``compare``. No stage depends on them."""
