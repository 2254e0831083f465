"""Backups of services: taken (`take`), put back (`restore`), and where they lie (`depot`: a folder, S3).

In: a spec and the attempt's tools. Out: a backup that is whole, or none. Imports: attempt, tools and down.
"""
