"""Published settings and results, for ``python -m distillation recipes`` and ``compare``. No stage depends on them.

``rows`` reads the recipes, ``overlay`` turns a row into parameters, ``queueing`` into experiments, ``cost`` estimates
it, ``results`` reads what was run, and ``measured`` finds the row that a result measures.
"""
