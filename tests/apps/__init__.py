"""Blacktree proven on whole projects that others wrote: `make apps`. What is said of one lies elsewhere."""
