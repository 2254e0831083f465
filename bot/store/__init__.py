"""The truth: tables, transactions, migrations, and the logs of attempts.

In: rows and lines. Out: the same, after any crash. Imports: metrics.
"""
