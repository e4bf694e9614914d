"""Runs a command on a terminal of its own, and answers what it asks.

Standard input holds JSON: {"argv": […], "steps": [[wait for, send], …]}. What the command wrote goes to
standard output; the exit code is the command's, or 98 where a question never came.
"""

import json
import os
import pty
import select
import sys
import time

LIMIT = 60


def main():
    plan = json.load(sys.stdin)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(plan["argv"][0], plan["argv"])
    said, seen, end = b"", 0, time.monotonic() + LIMIT
    steps = list(plan["steps"])
    while True:
        if steps and steps[0][0].encode() in said[seen:]:
            wanted, answer = steps.pop(0)
            seen = said.index(wanted.encode(), seen) + len(wanted)
            for line in answer.splitlines(keepends=True):
                os.write(terminal, line.encode())
            continue
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            sys.stdout.buffer.write(said)
            sys.exit(98)
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        if not part:
            break
        said += part
    _, status = os.waitpid(child, 0)
    sys.stdout.buffer.write(said)
    sys.exit(98 if steps else os.waitstatus_to_exitcode(status))


main()
