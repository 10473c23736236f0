"""Tiny networks predict step by step: to compile one for each size takes far longer."""

import keras
import pytest


@pytest.fixture(autouse=True)
def uncompiled():
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
