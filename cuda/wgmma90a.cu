// The large products of `medium` by warpgroups, for sm_90a alone. Compiled and assembled; NOT YET RUN ON A GPU, so no list of
// modules names it: each has its equal in mma80.cu, which it is to be compared with first.
#include "epilogue.cuh"
#include "warpgroup.cuh"

#define KERNEL extern "C" __global__ void __launch_bounds__(WarpgroupShape::THREADS, 2)

KERNEL forward_tf32_l(const __grid_constant__ Tables tables) {
    forward_tile<Warpgroup>(tables);
}

KERNEL backward_tf32_l(const __grid_constant__ Tables tables) {
    backward_tile<Warpgroup>(tables);
}

KERNEL learn_tf32_l(const __grid_constant__ Tables tables) {
    learn_tile<Warpgroup>(tables);
}
