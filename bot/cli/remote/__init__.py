"""Commands that ask a bot somewhere over HTTP, with a token: no store, no GitHub library, a fast start.

In: what somebody types. Out: requests to the API, tables for people, JSON for programs. Imports: config.
"""
