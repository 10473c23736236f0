"""The constants of an earlier run come back as what they were."""

import json
from pathlib import Path

import Final_implementation

from pipeline.repetition import constants_of_run
from program.settings import RESULTS_VERSION


def test_paths_come_back_as_paths_and_nothing_as_nothing(tmp_path):
    constants = {"regions_folder": "/some/where", "groups": "folders", "input_folder": "/in"}
    record = {
        "constants": constants | {"scheduler": None},
        "models": {},
        "results_version": RESULTS_VERSION,
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = constants_of_run(tmp_path / "run.json", Final_implementation.main)
    assert found["regions_folder"] == Path("/some/where") and found["input_folder"] == Path("/in")
    assert found["groups"] == "folders" and found["scheduler"] is None
    record["constants"] = {"region": [1, 2, 30, 40]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = constants_of_run(tmp_path / "run.json", Final_implementation.main)
    assert found["region"] == (1, 2, 30, 40)
    record["constants"] = {"regions_folder": None}
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = constants_of_run(tmp_path / "run.json", Final_implementation.main)
    assert found == {"regions_folder": None}
