"""One module for each behaviour, each with its own router; `table` has them together."""
