#!/usr/bin/env python3
"""Makes dashboards/*.json of boards/*.py.

    build.py            writes them
    build.py --check    says which are not what boards/ makes, and exits with 1 if one is not
"""

import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DASHBOARDS = HERE / "dashboards"
# In the order in which one reads them.
BOARDS = ("overview", "traffic", "redis", "backends", "presence", "work", "loadtest")


def made():
    """The text of each dashboard by its path."""
    sys.path.insert(0, str(HERE / "boards"))
    boards = [importlib.import_module(name).board() for name in BOARDS]
    return {DASHBOARDS / f"{board.name}.json": json.dumps(board.json(), indent=2, ensure_ascii=False) + "\n" for board in boards}


def stale():
    """The dashboards that are not what boards/ makes, be it that they should not be there."""
    wanted = made()
    there = {path: path.read_text() for path in DASHBOARDS.glob("*.json")}
    return sorted(path.name for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def main():
    if "--check" in sys.argv[1:]:
        for name in stale():
            print(f"dashboards/{name} is not what boards/ makes: run grafana/build.py")
        return 1 if stale() else 0
    wanted = made()
    for path in DASHBOARDS.glob("*.json"):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
