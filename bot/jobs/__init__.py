"""How a job moves: the one table of moves, who is next, how an attempt ends, what a release and an image are.

In: planned jobs, claims, ends. Out: moves with their reports, offers to workers. Imports: reports and down.
"""
