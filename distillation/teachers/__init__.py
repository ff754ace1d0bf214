"""Pools of networks trained on real data."""
