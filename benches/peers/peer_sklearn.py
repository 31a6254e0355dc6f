"""scikit-learn's MLPClassifier; threads are those of the BLAS beneath NumPy, all cores."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from networks import LEARNING_RATE
from work import Clock, contestant

warnings.simplefilter("ignore", ConvergenceWarning)


def train(work, how, x, y, x_test, y_test):
    model = MLPClassifier(
        work.hidden, batch_size=work.batch, learning_rate_init=LEARNING_RATE, alpha=0.0, max_iter=1,
        warm_start=True, random_state=how.seed,
    )
    clock = Clock()
    for _ in range(work.epochs):
        model.fit(x, y)
        yield clock.lap()
    yield model.score(x_test, y_test)


contestant(train)
