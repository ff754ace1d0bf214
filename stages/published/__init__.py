"""Published settings and results: what ``python -m stages.recipes`` offers and ``stages.compare`` holds against. No stage
depends on it."""
