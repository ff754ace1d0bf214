"""Commands that people call: ``python -m distillation NAME``. No stage depends on any of them."""
