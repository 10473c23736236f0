"""The report of a run: its page, the tables in it, the pictures in it."""
