"""Output for people: progress, live curves, numbers as text. Every package may import it; it is in no fingerprint."""
