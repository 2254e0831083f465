"""Docker and BuildKit behind their ports (`engine` and `builder` have them).

In: what to build, start, stop. Out: what runs, what it printed, whose fault. Imports: output and down.
"""
