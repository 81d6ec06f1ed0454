#!/usr/bin/env python3
"""Runs the chart in a real cluster: API server, controllers and scheduler, and kwok in place of machines.

    check_cluster.py              all of it
    check_cluster.py NAME …       only these checks

Needs what `.ci/tools kubernetes` installs. Prints what failed and, as the last line, "N passed, N failed"; exits with 1 if anything
failed.
"""

import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".ci"))

import acceptance
import checks
import control_plane
import lifecycle
from checks import check

# In this order: what a cluster has of its own before what is installed into it, and the namespace of README before what uses it.
CHECKS = {
    "install": lifecycle.check_install,
    "upgrade": lifecycle.check_upgrade,
    "test": lifecycle.check_test,
    "eviction": lifecycle.check_eviction,
    "autoscaling": lifecycle.check_autoscaling,
    "client-side": lifecycle.check_client_side,
    "without-definitions": acceptance.check_without_definitions,
    "definitions": acceptance.define,
    "examples": acceptance.check_examples,
    "kustomize": acceptance.check_kustomize,
    "mistakes": acceptance.check_mistakes,
    "refused": acceptance.check_refused,
}


def main():
    wanted = sys.argv[1:] or list(CHECKS)
    if unknown := [name for name in wanted if name not in CHECKS]:
        sys.exit(f"there is no check {unknown[0]}; there are {', '.join(CHECKS)}")
    # Whoever ends this ends the cluster with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with control_plane.running() as cluster:
        print(f"{time.monotonic() - began:5.1f} s  the cluster is up", flush=True)
        for name in wanted:
            began = time.monotonic()
            try:
                CHECKS[name](cluster)
            except Exception:  # The others are told, too.
                check(False, f"{name} was broken off:\n{traceback.format_exc()}")
            print(f"{time.monotonic() - began:5.1f} s  {name}", flush=True)
    checks.close()


if __name__ == "__main__":
    main()
