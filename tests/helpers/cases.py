"""Small files of other programs, which lie outside the repository."""

from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no example files in {CASES}")
