"""The API for programs: one table of operations, which the routes, the checks and openapi.json are made of.

In: requests with a token. Out: JSON, logs, events, and orders for the rooms below. Imports: web and down.
"""

from bot.web.api.looks import Api

__all__ = ["Api"]
