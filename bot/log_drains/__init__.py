"""What containers print, passed on: to a drain of the instance's, and to those that repositories' files name.

In: kept lines, and how far each drain is. Out: batches, to somebody else's address. Imports: jobs and down.
"""
