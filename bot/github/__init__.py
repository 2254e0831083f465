"""GitHub as we ask it, by name: `forge` over `client`, with the App's tokens and the limits that GitHub sets.

In: calls. Out: values, or a GitHubError. Imports: secrets and down.
"""
