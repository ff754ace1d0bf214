"""Protocols that measure a distilled set."""
