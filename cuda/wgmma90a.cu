// The large products of `medium` and `high` by warpgroups, for sm_90a alone; each has its twin in mma80.cu (suffix l), which
// `hpt-engine check` compares it with.
#include "epilogue.cuh"
#include "warpgroup.cuh"

#define KERNEL extern "C" __global__ void

#define PRODUCTS(name, suffix, Shape)                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, 1) forward_##name##_##suffix(const __grid_constant__ Tables tables) {      \
        forward_tile<Warpgroup<Shape>>(tables);                                                                        \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, 1) backward_##name##_##suffix(const __grid_constant__ Tables tables) {     \
        backward_tile<Warpgroup<Shape>>(tables);                                                                       \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, 1) learn_##name##_##suffix(const __grid_constant__ Tables tables) {        \
        learn_tile<Warpgroup<Shape>>(tables);                                                                          \
    }

PRODUCTS(tf32, g, WideWarpgroup)
PRODUCTS(tf32x3, g, SplitWarpgroup)
