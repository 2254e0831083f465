"""What the bot tells of itself in numbers: the instruments, and how they are read.

In: what happened, from every room. Out: what Prometheus reads. Imports: no other room.
"""
