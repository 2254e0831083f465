"""One module for each sweep: it finds again what got lost. `scheduler` runs them.

In: the clock. Out: deliveries, moves of jobs, orders to workers. Imports: web and down.
"""
