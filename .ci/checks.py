"""Counts what is checked and says what failed: what the check.py of all folders share."""

import sys
import time

passed = failed = 0


class Failed(Exception):
    """Something did not become what it should."""


def check(ok, what):
    """Counts one check; `what` says what must be, or what is wrong, and is printed if it fails."""
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}", flush=True)


def eventually(what, test, patience=30):
    """The first truthy result of `test` within `patience` seconds. What cannot be asked yet is asked again.

    Raises Failed, with what the last attempt gave, if there is none in time.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            last = test()
            if last:
                return last
        except (OSError, ValueError, Failed) as error:
            last = error
        if time.monotonic() > deadline:
            raise Failed(f"not within {patience} s: {what} ({last})")
        time.sleep(0.05)


def close():
    """Prints how it went as the last line, and ends the process: with 1 if anything failed, or if nothing was checked."""
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)
