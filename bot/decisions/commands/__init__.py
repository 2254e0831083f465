"""One module for each family of slash-commands; `grammar` finds them, `table` has them together."""
