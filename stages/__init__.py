"""The pipeline: one standalone script per DVC stage, over small packages that import downwards only."""
