"""The progress of one image through its stages."""

from tqdm import tqdm

BAR = "{desc}: {percentage:3.0f}% |{bar}| {remaining} left"


class Progress:
    """A bar over all stages of one image, in million output pixels, headed by image and stage."""

    def __init__(self, bar: tqdm, name: str):
        self.bar, self.name = bar, name
        self.stage_size, self.stages_begun = 0.0, 0

    def start(self, stages: int, stage_size: float):
        """Set how many stages of `stage_size` Mpx there will be."""
        self.stage_size = stage_size
        self.bar.reset(stages * stage_size)

    def stage(self, title: str):
        """Head the bar with the next stage; what the last one skipped (glass) counts as done."""
        self.bar.set_description_str(f"{self.name}, {title}", refresh=False)
        self.bar.update(self.stages_begun * self.stage_size - self.bar.n)
        self.stages_begun += 1

    def advance(self, pixels: float):
        """Count `pixels` output pixels of the current stage as done, at most all of it."""
        left = self.stages_begun * self.stage_size - self.bar.n  # sums of floats end beside it
        self.bar.update(max(0.0, min(pixels / 1e6, left)))
