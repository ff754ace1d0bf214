"""Dataset distillation: every method behind one contract, one evaluation, and work that survives a kill."""
