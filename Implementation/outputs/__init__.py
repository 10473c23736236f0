"""What a run writes and shows: TIFF, PNG, CSV, figures, evidence, report, terminal."""
