"""Start Keras for a training script, or end it in one line."""

from program.startup import start_keras


def start():
    """Import Keras and its backend quietly; raise SystemExit where the backend is not installed."""
    try:
        start_keras()
    except ValueError as error:
        raise SystemExit(str(error)) from None
