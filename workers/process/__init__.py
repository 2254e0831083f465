"""Children and threads that end when they are told to.

In: an argument list or a call. Out: its end. Imports: contract.
"""
