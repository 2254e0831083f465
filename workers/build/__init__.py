"""The story of a build (`build`), and when none is needed (`inputs`, `reuse`).

In: a spec and the attempt's tools. Out: an image's digest. Imports: attempt, tools and down.
"""
