"""What people and programs see over HTTP: the API, the pages, the first setup.

In: requests. Out: answers, and deliveries and orders for the rooms below. Imports: fleet and down.
"""
