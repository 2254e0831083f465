"""Visitors' way to what runs: the Proxy port, Caddy behind it.

In: releases that are ready. Out: routes, and who is live. Imports: decisions and down.
"""
