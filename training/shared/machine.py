"""What a training computes on: several devices, and the precision of the multiplications."""

import keras

from program.processor import has_bfloat16


def use_devices(devices, batch_size: int):
    """Spread every batch over several devices, which only the JAX backend of Keras can do.

    Args:
        devices: how many, or "all".
        batch_size: must be a multiple of that number.

    Raises:
        ValueError: another backend, too few devices, or a batch that cannot be divided.
    """
    if devices == 1:
        return
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"DEVICES: {devices} needs the JAX backend (pip install jax, KERAS_BACKEND=jax in the "
            f"environment); found {keras.backend.backend()}, which trains on 1"
        )
    found = keras.distribution.list_devices()
    count = len(found) if devices == "all" else devices
    if not 1 <= count <= len(found):
        raise ValueError(f"DEVICES: expected 1 to {len(found)} (those found), found {devices}")
    if batch_size % count:
        raise ValueError(f"BATCH_SIZE: expected a multiple of {count} devices, found {batch_size}")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found[:count]))


def use_bfloat16():
    """Let TensorFlow multiply in bfloat16: two thirds of the time on processors made for it.

    Its graphs are rewritten so that convolutions take and give bfloat16; weights, their updates
    and the losses stay float32, and so does the saved model.

    Raises:
        ValueError: another backend, or a processor without instructions for it.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"BFLOAT16 needs TensorFlow, found {keras.backend.backend()}")
    if not has_bfloat16():
        raise ValueError(
            "BFLOAT16: this processor has no instructions for it, training would take several "
            "times as long; leave it off"
        )
    import tensorflow as tf  # only here: training runs without it on other backends

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
