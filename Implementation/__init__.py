"""No package: its scripts run from any folder by their path."""

raise SystemExit(
    "Run the script itself, for example: python Implementation/Final_implementation.py"
)
