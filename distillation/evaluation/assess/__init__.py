"""Measures of a distilled set that train nothing on it: which of them foretells the accuracy is the question of CLOM."""
