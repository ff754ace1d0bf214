"""One file per distillation method, and what they share."""
