"""metrics.json: scikit-learn's metrics on small examples, the awkward ones included.

A figure that scikit-learn has no value for (an AUC with one class only) is left out of `expected`.
"""

import warnings

import common
import numpy as np
import torch
from sklearn import metrics as M


def probabilities(logits):
    return torch.softmax(torch.tensor(logits), dim=1).numpy()


def classification(name, labels, logits):
    """Predictions are the first largest logit. AUC and log loss are of the probabilities as written, in float32: rows
    with the same logits in another order must tie, and softmax's last bit would part them; and scikit-learn clips
    probabilities by the epsilon of their type."""
    labels, logits = np.array(labels), np.array(common.f32(np.asarray(logits).tolist()))
    predicted = logits.argmax(axis=1)
    scores = np.array(common.f32(probabilities(logits).tolist()))
    classes = list(range(logits.shape[1]))
    expected = {
        "accuracy": M.accuracy_score(labels, predicted),
        "macro_f1": M.f1_score(labels, predicted, average="macro", zero_division=0.0),
        "balanced_accuracy": M.balanced_accuracy_score(labels, predicted),
        "log_loss": M.log_loss(labels, scores.astype(np.float32), labels=classes),
    }
    if set(labels) == set(classes):
        expected["roc_auc"] = (M.roc_auc_score(labels, scores[:, 1]) if len(classes) == 2
                               else M.roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    return {
        "name": name,
        "rows": len(labels),
        "classes": len(classes),
        "labels": labels.tolist(),
        "logits": logits.reshape(-1).tolist(),
        "probabilities": scores.reshape(-1).tolist(),
        "confusion": M.confusion_matrix(labels, predicted, labels=classes).reshape(-1).tolist(),
        "expected": {key: float(value) for key, value in expected.items()},
    }


def binary_auc(name, labels, scores):
    scores = common.f32(list(scores))
    return {"name": name, "labels": list(labels), "scores": scores, "expected": float(M.roc_auc_score(labels, scores))}


def regression(name, truth, predicted):
    """One column of numbers, or rows of several. `rmse_all` is the root of the mean over all elements.

    With constant truth R2 is 0/0 or -x/0. scikit-learn puts 1 and 0 in its place unless told `force_finite=False`;
    here it counts as having no value.
    """
    truth, predicted = np.array(common.f32(truth)), np.array(common.f32(predicted))
    several = truth.ndim == 2
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = float(M.r2_score(truth, predicted, force_finite=False))
    expected = {
        "r2": r2,
        "rmse": float(M.root_mean_squared_error(truth, predicted)),
        "rmse_all": float(M.root_mean_squared_error(truth.reshape(-1), predicted.reshape(-1))),
        "mae": float(M.mean_absolute_error(truth, predicted)),
    }
    return {
        "name": name,
        "rows": len(truth),
        "targets": truth.shape[1] if several else 1,
        "truth": truth.reshape(-1).tolist(),
        "predicted": predicted.reshape(-1).tolist(),
        "expected": {key: value for key, value in expected.items() if np.isfinite(value)},
    }


def cases():
    # That a predicted class is never true is what the case is about.
    warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
    g = np.random.default_rng(400)
    labels3 = np.concatenate([np.arange(3), g.integers(0, 3, 27)])
    logits3 = g.normal(size=(30, 3)) + 1.2 * np.eye(3)[labels3]
    never = logits3.copy()
    never[:, 1] -= 20.0
    labels2 = np.concatenate([np.arange(2), (g.random(23) < 0.25).astype(int)])
    logits2 = g.normal(size=(25, 2)) + 0.8 * np.eye(2)[labels2]
    absent = g.normal(size=(12, 4))
    absent[:, 3] -= 20.0
    y = g.normal(size=20)
    y2 = np.stack([50.0 * y, g.normal(size=20)], axis=1)
    noise = g.normal(size=(20, 2))
    return {
        "classification": [
            classification("three classes", labels3, logits3),
            classification("a class that is never predicted", labels3, never),
            classification("a class that is predicted but never true", g.integers(0, 2, 30), logits3),
            classification("a class neither true nor predicted", g.integers(0, 3, 12), absent),
            classification("one class only is predicted", labels3, np.tile([0.0, 1.0, 0.5], (30, 1))),
            classification("ties in the scores", labels3, np.round(logits3)),
            classification("two classes", labels2, logits2),
            classification("two classes, ties", labels2, np.round(logits2)),
            classification("all right", labels3, 5.0 * np.eye(3)[labels3]),
            classification("all wrong, surely", labels3, 30.0 * np.eye(3)[(labels3 + 1) % 3]),
        ],
        "binary_auc": [
            binary_auc("plain", labels2.tolist(), (logits2[:, 1] - logits2[:, 0]).tolist()),
            binary_auc("ties", labels2.tolist(), np.round(logits2[:, 1] - logits2[:, 0]).tolist()),
            binary_auc("all scores equal", [0, 1, 1, 0, 1], [0.5] * 5),
            binary_auc("perfect", [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),
            binary_auc("reversed", [0, 0, 1, 1], [0.4, 0.3, 0.2, 0.1]),
            binary_auc("one positive, tied with one negative", [0, 0, 1, 0], [0.1, 0.7, 0.7, 0.9]),
        ],
        "regression": [
            regression("plain", y.tolist(), (y + 0.3 * noise[:, 0]).tolist()),
            regression("worse than the mean", y.tolist(), (-2.0 * y).tolist()),
            regression("two targets of different size", y2.tolist(), (y2 + noise * [20.0, 0.2]).tolist()),
            regression("far from zero", (1e6 + y).tolist(), (1e6 + 0.9 * y).tolist()),
            regression("constant truth, wrong", [2.5] * 5, [2.5, 2.0, 3.0, 2.5, 2.25]),
            regression("constant truth, right", [2.5] * 5, [2.5] * 5),
            regression("perfect", y.tolist(), y.tolist()),
        ],
    }
