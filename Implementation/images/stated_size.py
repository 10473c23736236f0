"""The pixel size that a user states, against the one that a file states."""

from dataclasses import dataclass

TOLERANCE = 0.05  # relative difference above which two pixel sizes are not the same


@dataclass(frozen=True)
class StatedSize:
    """What a user says of the pixel size of files, at their full resolution.

    Attributes:
        microns: um per pixel; None = nothing is said.
        for_all: whether it counts against what a file says of itself.
    """

    microns: float | None = None
    for_all: bool = False

    def or_of_file(self, microns: float | None) -> tuple[float | None, tuple[str, ...]]:
        """Choose between this size and that of a file.

        Args:
            microns: um per pixel that the file states, None where it does not.

        Returns:
            (um per pixel or None, notes): a note of one line where the two differ.
        """
        if self.microns is None or microns is None:
            return self.microns or microns, ()
        if abs(self.microns / microns - 1) <= TOLERANCE:
            return (self.microns if self.for_all else microns), ()
        both = f"the file states {microns:.4g} um per pixel, --microns-per-pixel {self.microns:.4g}"
        if self.for_all:
            return self.microns, (f"{both}, which is used",)
        return microns, (f"{both}; the file's is used (--microns-per-pixel-for-all: the other)",)
