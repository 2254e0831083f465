"""Chaos: real processes under a stream of work, while a seeded schedule kills, freezes, cuts and wipes."""
