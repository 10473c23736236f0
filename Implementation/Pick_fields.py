"""Cut the fields of a finished run that are most worth correcting by hand, for QuPath.

    python Implementation/Pick_fields.py --results-folder my_results --output-folder corrected

Fields are taken from all images of the run: those whose nuclei the networks are least sure of, and
among these ones that look different. OUTPUT_FOLDER gets each field as a picture with its pixel size
and its outlines as annotations, and README.html, which says step by step how to correct them in
QuPath. Training reads the same folder. Every constant below is also a flag: see --help.
"""

import sys
from pathlib import Path
from typing import Literal

if __package__:  # python -m: the rooms are not on the path then
    sys.exit("Start this script by its path: python Implementation/Pick_fields.py")

from program.command_line import run

ROOT = Path(__file__).resolve().parents[1]

# --- Input and output ---
RESULTS_FOLDER = ROOT / "Implementation" / "results"  # OUTPUT_FOLDER of a finished run
OUTPUT_FOLDER = ROOT / "data" / "corrected"  # new or empty

# --- Fields ---
FIELDS = 10
FIELD_SIDE = 512  # pixels of the result, 128 um at 0.25 um per pixel; smaller images whole
FIELD_FORMAT = "png"  # or "ome.tif"


def main(
    results_folder: Path = RESULTS_FOLDER,
    output_folder: Path = OUTPUT_FOLDER,
    fields: int = FIELDS,
    field_side: int = FIELD_SIDE,
    field_format: Literal["png", "ome.tif"] = FIELD_FORMAT,
) -> int:
    """Cut the fields of a run that are most worth correcting.

    Args:
        results_folder: output folder of a finished run of Final_implementation.py.
        output_folder: gets the fields, their outlines and a page that says what to do.
        fields: how many; fewer where the run has fewer that hold nuclei.
        field_side: side of a field in pixels of the result; an eighth less where one more fits so.
        field_format: of the pictures.

    Returns:
        Exit status: 0, or 2 if there are no results or the output folder already holds fields.
    """
    # Imported here, not above: --help needs none of it.
    from evaluation.correction_folder import write_fields
    from evaluation.picking import choose, fields_of_run
    from images.errors import counted
    from program.startup import print_any_name

    print_any_name()
    try:
        if fields < 1 or field_side < 64:
            raise ValueError(
                "FIELDS, FIELD_SIDE: expected at least 1 field of 64 pixels, found "
                f"{fields} of {field_side}"
            )
        chosen = choose(fields_of_run(results_folder, field_side), fields)
        page = write_fields(chosen, results_folder, output_folder, field_format)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    images = len({field.folder for field in chosen})
    found = f"{counted(len(chosen), 'field')} of {counted(images, 'image')}"
    print(f"{found}: {output_folder.resolve()}")
    print(f"Open {page.resolve()} in a browser; it says what to do in QuPath.")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
