"""What Ctrl-C does for a while."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts(action: signal.Handlers) -> Iterator[None]:
    """Let Ctrl-C be ignored (`SIG_IGN`) or end the process at once (`SIG_DFL`) in a `with` block.

    Processes that are started inside inherit it. In another thread than the main one, which may not
    change signals and gets none, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
