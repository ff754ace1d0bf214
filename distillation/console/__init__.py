"""Output for people: progress, live curves, numbers as text. Every package may import it.

Its modules ``progress`` and ``live`` are in no fingerprint (see ``runtime.fingerprint``): what they print is in no
result.
"""
