"""What holds for all tests: threads, deadlines, tiny models, and which tests are slow."""

import os

import pytest
from hypothesis import settings

# Tiny networks gain nothing from threads, and tests that run side by side would fight for them.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}

# Whole runs, trainings, clusters, processes that are killed: minutes together.
SLOW = (
    "test_damaged_files.py",
    "test_real_labels.py",
    "test_folding.py",
    "test_model_files.py",
    "test_precision.py",
    "test_cluster.py",
    "test_faults.py",
    "test_interruption.py",
    "test_benchmark.py",
    "test_evaluate.py",
    "test_memory.py",
    "test_srgan_train.py",
    "test_unet_train.py",
    "test_unet_fine_tuning.py",
    "test_training_devices.py",
    "test_startup.py",
    "test_helper_processes.py",
    "test_networks.py",
    "test_pieces.py",
    "test_srgan_evaluate.py",
    "test_srgan_models.py",
    "test_pictures.py",
    "test_pixel_size_train.py",
    "test_unet_encoder.py",
)
SLOW_ROOM = "scripts"
QUICK = ("test_documents.py", "test_house_picture.py")  # in it

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


def pytest_collection_modifyitems(items):
    """Mark slow tests, so that `-m "not slow"` answers within two minutes."""
    for item in items:
        name = item.path.name
        if name in SLOW or (item.path.parent.name == SLOW_ROOM and name not in QUICK):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of generator.h5, generator_x2.h5 (bicubic interpolation), Unet.h5 (dark = nucleus) and
    pixel_size.h5 (0.25 um).

    So small that an image takes a second, and what is drawn must be found.
    """
    from helpers import tiny_models  # late: not every test needs Keras

    folder = tmp_path_factory.mktemp("models")
    tiny_models.save(tiny_models.bicubic_generator(), folder / "generator.h5")
    tiny_models.save(tiny_models.bicubic_generator(scale=2), folder / "generator_x2.h5")
    tiny_models.save(tiny_models.darkness_unet(), folder / "Unet.h5", tiny_models.UNET_MICRONS)
    tiny_models.save(tiny_models.constant_pixel_size(-2.0), folder / "pixel_size.h5")
    return folder
