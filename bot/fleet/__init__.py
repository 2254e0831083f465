"""The bot's side of every worker.

In: what workers ask and tell. Out: grants, moves of jobs, fates of releases. Imports: intake and down.
"""
