"""Pools that grow and shrink with their load.

In: jobs and workers as the store has them. Out: workers started, drained, ended. Imports: fleet and down.
"""
