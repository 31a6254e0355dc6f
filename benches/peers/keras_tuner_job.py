"""The whole job of a Keras Tuner tutorial on MNIST: 10 random trials of 10 epochs, batch 32, validation split 0.2.

    .venv/peers/bin/python benches/peers/keras_tuner_job.py FOLDER_OF_MNIST [SEED]

Ours is `hpt-engine search benches/studies/mnist-keras-tuner.toml --data FOLDER_OF_MNIST --trials 10 --epochs 10`. The
space is the same: one to five layers of 32 to 512 units in steps of 32 each, learning rate 1e-4 to 1e-2 (log), Adam,
SGD or RMSprop. Prints seconds, without those of the imports, and the test accuracy of the best model, both as JSON.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner

from networks import EPOCHS, TRIALS
from work import mnist


def build(hp):
    model = keras.Sequential([keras.Input((784,))])
    for i in range(hp.Int("layers", 1, 5)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", 32, 512, step=32), "relu"))
    model.add(keras.layers.Dense(10, "softmax"))
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    optimizers = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop}
    optimizer = optimizers[hp.Choice("optimizer", list(optimizers))](rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


start = time.perf_counter()
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
x, y, x_test, y_test = mnist(Path(sys.argv[1]))
with tempfile.TemporaryDirectory() as folder:
    tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=TRIALS, seed=seed, directory=folder)
    tuner.search(x, y, epochs=EPOCHS, batch_size=32, validation_split=0.2, verbose=0)
    accuracy = tuner.get_best_models(1)[0].evaluate(x_test, y_test, verbose=0)[1]
print(json.dumps({"seconds": time.perf_counter() - start, "test_accuracy": accuracy}))
