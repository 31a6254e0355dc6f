//! Input warping: a monotone curve over each number's unit interval, learned with the kernel.
//!
//! u(x) = 1 − (1 − xᵃ)ᵇ, the distribution function of Kumaraswamy; a = b = 1 is the identity. It lets one length scale
//! fit an objective that changes fast at one end of a range and hardly at the other (Snoek, Swersky, Zemel and Adams,
//! "Input warping for Bayesian optimization of non-stationary functions", ICML 2014).

use super::lanes::Lanes;

/// Coordinates are kept so far from the ends, where slopes may be infinite.
const MARGIN: f64 = 1e-6;

/// One curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Warp {
    pub(super) a: f64,
    pub(super) b: f64,
}

impl Warp {
    pub(super) const IDENTITY: Warp = Warp { a: 1.0, b: 1.0 };

    /// u(x).
    #[inline(always)]
    pub(super) fn at(self, x: Lanes) -> Lanes {
        if self == Warp::IDENTITY { x } else { self.bend(Warp::log(x)).0 }
    }

    /// ln x, with x kept from the ends.
    #[inline(always)]
    pub(super) fn log(x: Lanes) -> Lanes {
        x.clamp(MARGIN, 1.0 - MARGIN).ln()
    }

    /// (u, du/d ln a, du/d ln b) from ln x.
    #[inline(always)]
    pub(super) fn bend(self, log: Lanes) -> (Lanes, Lanes, Lanes) {
        let one = Lanes::splat(1.0);
        let power = (log * self.a).exp();
        let left = one - power;
        let log_left = left.ln();
        let rest = (log_left * self.b).exp();
        (one - rest, rest / left * power * log * (self.a * self.b), rest * log_left * -self.b)
    }

    /// du/dx.
    pub(super) fn slope(self, x: f64) -> f64 {
        if self == Warp::IDENTITY {
            return 1.0;
        }
        let x = x.clamp(MARGIN, 1.0 - MARGIN);
        let power = x.powf(self.a);
        self.a * self.b * power / x * (1.0 - power).powf(self.b - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_differences_and_one_is_the_identity() {
        let e = 1e-6;
        let at = |warp: Warp, x: f64| warp.at(Lanes::splat(x)).0[0];
        for (a, b) in [(1.3, 0.6), (0.5, 2.0), (1.0, 1.1)] {
            let warp = Warp { a, b };
            for x in [0.02, 0.3, 0.97] {
                let difference = (at(warp, x + e) - at(warp, x - e)) / (2.0 * e);
                assert!((warp.slope(x) - difference).abs() < 1e-5 * difference, "{a} {b} {x}");
                let moved = |da: f64, db: f64| at(Warp { a: a * da.exp(), b: b * db.exp() }, x);
                let (_, by_a, by_b) = warp.bend(Warp::log(Lanes::splat(x)));
                let (by_a, by_b) = (by_a.0[0], by_b.0[0]);
                assert!((by_a - (moved(e, 0.0) - moved(-e, 0.0)) / (2.0 * e)).abs() < 1e-6, "{a} {b} {x}");
                assert!((by_b - (moved(0.0, e) - moved(0.0, -e)) / (2.0 * e)).abs() < 1e-6, "{a} {b} {x}");
            }
            assert!(at(warp, 0.0) < 0.01 && at(warp, 1.0) > 0.99, "{a} {b}");
        }
        assert_eq!((at(Warp::IDENTITY, 0.25), Warp::IDENTITY.slope(0.0)), (0.25, 1.0));
        let nearly = Warp { a: 1.0, b: 1.0 + 1e-12 };
        assert!((at(nearly, 0.25) - 0.25).abs() < 1e-9 && (nearly.slope(0.25) - 1.0).abs() < 1e-9);
    }
}
