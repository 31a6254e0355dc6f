//! What instructions compute, lane by lane: pure functions of bits, with no warp, memory or mask.
//!
//! What is hot is a function over 32 lanes that the compiler vectorises ([`PlaneFn`](crate::instr::PlaneFn)); what is
//! rare is a small description that is interpreted a lane at a time.

pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod half;
pub(crate) mod int;
pub(crate) mod mma;
pub(crate) mod round;

/// A [`PlaneFn`](crate::instr::PlaneFn) from an expression of three 32-bit lanes.
macro_rules! plane {
    (|$a:pat_param, $b:pat_param, $c:pat_param| $result:expr) => {{
        fn lanes(
            a: &crate::instr::Plane,
            b: &crate::instr::Plane,
            c: &crate::instr::Plane,
            out: &mut crate::instr::Plane,
        ) {
            for lane in 0..crate::instr::LANES {
                let ($a, $b, $c) = (a[lane], b[lane], c[lane]);
                out[lane] = $result;
            }
        }
        crate::instr::Function::Plane(lanes)
    }};
}

/// A [`WideFn`](crate::instr::WideFn) from an expression of three 64-bit lanes.
macro_rules! wide {
    (|$a:pat_param, $b:pat_param, $c:pat_param| $result:expr) => {{
        fn lanes(a: &crate::instr::Wide, b: &crate::instr::Wide, c: &crate::instr::Wide, out: &mut crate::instr::Wide) {
            for lane in 0..crate::instr::LANES {
                let ($a, $b, $c) = (a[lane], b[lane], c[lane]);
                out[lane] = $result;
            }
        }
        crate::instr::Function::Wide(lanes)
    }};
}

pub(crate) use {plane, wide};
