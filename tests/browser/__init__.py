"""A real Chromium, and axe-core, which npm installs beside this file (tests/machine/npm-ci)."""
