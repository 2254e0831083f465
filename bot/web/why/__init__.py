"""Why: for any commit, pull request, run, job or address one answer of what happened to it, in its order.

In: what somebody asks about. Out: entries, each with its time and its link. Imports: web's API and down.
"""
