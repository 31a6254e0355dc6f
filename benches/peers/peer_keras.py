"""Keras 3 on TensorFlow, as its tutorials write it: `fit`."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from networks import LEARNING_RATE
from work import Clock, contestant


class Laps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.clock, self.seconds = Clock(), []

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(self.clock.lap())


def train(work, how, x, y, x_test, y_test):
    keras.utils.set_random_seed(how.seed)
    layers = [keras.Input((x.shape[1],))]
    for units in work.hidden:
        layers += [keras.layers.Dense(units, "relu")] + ([keras.layers.Dropout(work.dropout)] if work.dropout else [])
    model = keras.Sequential([*layers, keras.layers.Dense(int(y.max()) + 1, "softmax")])
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    laps = Laps()
    model.fit(x, y, batch_size=work.batch, epochs=work.epochs, verbose=0, callbacks=[laps])
    yield from laps.seconds
    yield model.evaluate(x_test, y_test, verbose=0)[1]


contestant(train)
