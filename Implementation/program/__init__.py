"""What every script begins with: settings, TensorFlow's start, the processor, terminal and disk."""
