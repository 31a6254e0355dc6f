"""Importance in the real Optuna, to be compared with ours by tests/importance.rs.

    python check_importance.py STUDY.db > ANSWERS.json

For each study of the file: fANOVA for seeds 0 to 4 (64 trees each, shares of the variance, not normalised), and
PED-ANOVA of the best tenth against all trials, against the space, and against the best half. `fanova_log` is fANOVA
with logarithmic parameters on their scale, which Optuna's transformation can do and its evaluator does not ask for.
Prints `{"study": {"fanova": [{name: share}, …], "ped": {…}, …}}`.
"""

import json
import sys
import warnings

import optuna
import optuna.importance._fanova._evaluator as fanova
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def ped(study, **arguments):
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(**arguments), normalize=False)


def forests(study):
    evaluators = [FanovaImportanceEvaluator(seed=seed) for seed in range(5)]
    return [get_param_importances(study, evaluator=evaluator, normalize=False) for evaluator in evaluators]


def forests_on_scales(study):
    plain = fanova._SearchSpaceTransform
    fanova._SearchSpaceTransform = lambda space, **options: plain(space, **{**options, "transform_log": True})
    try:
        return forests(study)
    finally:
        fanova._SearchSpaceTransform = plain


def main():
    storage = f"sqlite:///{sys.argv[1]}"
    answers = {"version": optuna.__version__}
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        answers[name] = {
            "fanova": forests(study),
            "fanova_log": forests_on_scales(study),
            "local": ped(study),
            "uniform": ped(study, evaluate_on_local=False),
            "region": ped(study, region_quantile=0.5),
        }
    json.dump(answers, sys.stdout)


main()
