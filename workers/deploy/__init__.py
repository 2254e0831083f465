"""The story of a deploy (`deploy`), of a stop (`stop`), and how what runs is watched.

In: a spec and the attempt's tools. Out: new containers, or the old ones still. Imports: build and down.
"""
