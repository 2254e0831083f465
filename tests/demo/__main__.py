"""python -m tests.demo [--once]"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.demo.stage import demo


def main() -> int:
    """Run the demo; the exit code is 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description="All of Blacktree, at work.")
    parser.add_argument("--once", action="store_true", help="check everything, clean up, and exit 0 or 1")
    return asyncio.run(demo(once=parser.parse_args().once))


if __name__ == "__main__":
    sys.exit(main())
