"""Where a webhook enters: `receiver` verifies, stores and answers; `processing` decides each delivery once.

In: requests of GitHub's. Out: deliveries, then the rows of their decisions. Imports: routing and down.
"""
