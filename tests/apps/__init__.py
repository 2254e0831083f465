"""Blacktree proven on whole projects that others wrote: `make apps`; `projects` says what of each."""
