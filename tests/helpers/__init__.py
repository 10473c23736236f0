"""What several tests need: tiny networks, drawn tissue, whole runs."""
