// The products of a step by tensor cores, for GPUs from sm_80 on: what simt.cu has in f32, with the same epilogues.
//
// tf32x3 is `high` (error as f32's), tf32 is `medium`. bf16 is not here: operands are staged as f32, so that a product is bound
// by shared memory and not by the rate of the tensor cores, and TF32 has three digits more.
#include "epilogue.cuh"
#include "tensor.cuh"

#define KERNEL extern "C" __global__ void

#define PRODUCTS(name, suffix, Shape, split, blocks)                                                                   \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) forward_##name##_##suffix(const __grid_constant__ Tables tables) { \
        forward_tile<Tensor<Shape, split>>(tables);                                                                    \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) backward_##name##_##suffix(const __grid_constant__ Tables tables) { \
        backward_tile<Tensor<Shape, split>>(tables);                                                                   \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) learn_##name##_##suffix(const __grid_constant__ Tables tables) {  \
        learn_tile<Tensor<Shape, split>>(tables);                                                                      \
    }

PRODUCTS(tf32x3, s, SmallTensor, true, 3)
PRODUCTS(tf32x3, l, LargeTensor, true, 1)
PRODUCTS(tf32x3, n, NarrowTensor, true, 3)
PRODUCTS(tf32, s, SmallTensor, false, 4)
PRODUCTS(tf32, l, LargeTensor, false, 2)
PRODUCTS(tf32, n, NarrowTensor, false, 4)
