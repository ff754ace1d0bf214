"""Published settings and results: what ``python -m distillation recipes`` offers and ``compare`` holds against. No stage
depends on it."""
