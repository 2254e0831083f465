"""Where commits come from: a mirror for each repository, checkouts by SHA, submodules, LFS.

In: a repository and a SHA. Out: a folder with its files. Imports: engine and down.
"""
