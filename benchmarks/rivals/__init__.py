"""Learned channels against what people would use instead, at equal cost and equal epochs."""
