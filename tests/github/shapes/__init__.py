"""The JSON that GitHub sends: one module for each family of nouns."""
