"""The models that made a result, named in every file by the SHA-256 of theirs."""

PROGRAM = "SRGAN and U-net for H&E"


def model_hashes(generator, unet, score) -> dict[str, str]:
    """Return {"generator_sha256": ..., ...} of the models that are not None.

    generator, unet: networks; score: of regions, see `nuclei.candidates.scoring`.
    """
    networks = {"generator": generator, "unet": unet, "nucleus_score": score}
    return {f"{name}_sha256": network.sha256 for name, network in networks.items() if network}


def software_note(hashes: dict[str, str]) -> str:
    """Return one line of ASCII for the Software field of image files."""
    return "; ".join([PROGRAM, *(f"{name} {value}" for name, value in hashes.items())])
