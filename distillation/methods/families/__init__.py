"""The shared parts of several methods: base classes of their families, distances and solvers."""
