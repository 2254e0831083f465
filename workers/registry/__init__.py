"""Registries: any OCI one, ECR, or none; pushing to them with patience.

In: references and logins. Out: digests. Imports: source and down.
"""
