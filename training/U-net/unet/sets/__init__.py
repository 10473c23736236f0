"""Which labelled images a U-net learns from, and which are held out or left out."""
