"""Cosmetics for people: progress and live curves. No stage depends on it."""
