"""Tests and tails of distributions, asked of SciPy.

Wilcoxon's exact p with ties is SciPy's permutation method over all choices of signs. Holm's adjustment, which SciPy
does not have, is the closed testing procedure that it abbreviates: the largest Bonferroni p of all sets that hold a
hypothesis.
"""

import itertools

import numpy as np
import scipy
from scipy import stats


def wilcoxon_cases(rng):
    for n, digits in [(1, 3), (5, 3), (12, 3), (30, 4), (50, 4), (9, 0), (12, 0), (13, 1), (60, 4), (200, 1), (80, 0)]:
        a, b = rng.normal(0.3, 2, n).round(digits), rng.normal(0, 2, n).round(digits)
        d = (a - b).round(digits)
        kept = d[d != 0]
        ties = len(set(abs(kept))) < len(kept)
        if len(kept) > 50:
            method = "approx"
        elif not ties:
            method = "exact"
        else:
            method = stats.PermutationMethod(n_resamples=np.inf)
        result = stats.wilcoxon(kept, method=method)
        yield {"differences": d.tolist(), "n": len(kept), "least": float(result.statistic), "p": float(result.pvalue)}


def friedman_cases(rng):
    for k, n, digits in [(3, 4, 3), (3, 10, 3), (4, 20, 3), (6, 20, 0), (5, 7, 0), (8, 50, 1)]:
        losses = (rng.normal(0, 1, (k, n)) + 0.3 * np.arange(k)[:, None]).round(digits)
        chi, p = stats.friedmanchisquare(*losses)
        f = (n - 1) * chi / (n * (k - 1) - chi)
        ranks = stats.rankdata(losses, axis=0).mean(axis=1)
        f_p = stats.f.sf(f, k - 1, (k - 1) * (n - 1))
        yield {
            "losses": losses.tolist(),
            "chi_square": float(chi),
            "p": float(p),
            "f": float(f),
            "f_p": float(f_p),
            "mean_ranks": ranks.tolist(),
        }


def holm(p):
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), size)]
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(len(p))]


def cases():
    rng = np.random.default_rng(7)
    x = [1e-6, 0.01, 0.3, 1.0, 2.5, 6.0, 20.0, 90.0]
    degrees = [1, 2, 3, 5, 19, 100]
    chances = [[0.01, 0.04, 0.03, 0.005], [0.5, 0.6, 0.9], [0.2], rng.uniform(0, 0.2, 6).tolist(), [0.02, 0.02, 0.02]]
    return {
        "written_by": {"scipy": scipy.__version__, "numpy": np.__version__},
        "chi_square": [[v, d, float(stats.chi2.sf(v, d))] for v in x for d in degrees],
        "f": [[v, a, b, float(stats.f.sf(v, a, b))] for v in x for a in degrees for b in degrees],
        "normal": [[z, float(stats.norm.cdf(z))] for z in [-30.0, -9.0, -3.3, -1.0, -0.01, 0.0, 0.4, 2.0, 5.5]],
        "wilcoxon": list(wilcoxon_cases(rng)),
        "friedman": list(friedman_cases(rng)),
        "holm": [{"p": p, "adjusted": holm(p)} for p in chances],
    }
