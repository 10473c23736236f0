"""Runs of Final_implementation as processes that can be killed, without each one's slow start.

A server process loads the libraries once and forks a process for each run, before TensorFlow has
started any thread of its own.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
IMPLEMENTATION = TESTS.parent / "Implementation"
SERVER = f"""
import json, os, sys, traceback
from pathlib import Path
sys.path[:0] = {str(IMPLEMENTATION)!r}, {str(TESTS)!r}
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import Final_implementation, outputs.report.page, pipeline.run, pipeline.worker
from helpers.whole_runs import without_pictures
without_pictures(setattr)

PATHS = ("input_folder", "output_folder", "generator", "faithful_generator", "unet")

def run(order):
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        flags = {{n: Path(v) if n in PATHS else v for n, v in order["flags"].items()}}
        status = Final_implementation.main(**flags)
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
    else:
        answer = os.fork() or run(order)
    print(answer, flush=True)
"""


class Runs:
    """Starts runs and waits for them; a context manager."""

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], **pipes)
        self.started = set()
        return self

    def __exit__(self, *_):
        for pid in self.started:
            os.kill(pid, signal.SIGKILL)
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()

    def start(self, log, **flags):
        """Start a run whose output is appended to `log`; return its process id."""
        flags = {name: str(v) if isinstance(v, Path) else v for name, v in flags.items()}
        pid = self._ask({"log": str(log), "flags": flags})
        self.started.add(pid)
        return pid

    def wait(self, pid):
        """Return the exit status of a run, the negative signal number if it was killed."""
        status = self._ask({"wait": pid})
        self.started.discard(pid)
        return status

    def _ask(self, order):
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())
