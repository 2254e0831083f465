"""The pages: what runs where, what is being built, what went wrong, and each job's log as it comes.

In: requests of who is signed in. Out: HTML, and events for pages that are open. Imports: web and down.
"""
