"""What follows from a delivery, a command or a wish. `events` and `commands` have one module for each.

In: facts from GitHub and the store. Out: a Decision, which `record` makes rows of. Imports: jobs and down.
"""
