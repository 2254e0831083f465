"""What an attempt prints, on its way out: cleaned, masked, bounded, in chunks.

In: bytes of anybody's. Out: events of the contract. Imports: contract.
"""
