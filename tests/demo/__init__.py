"""The whole of Blacktree on this machine, against the GitHub stand-in: `python -m tests.demo [--once]`.

`stage` sets everything up and clears it away, `story` is what the developer does, `watch` sees what happens
and `screen` shows it. `checks` is what must have been true at the end of a run with `--once`.
"""
