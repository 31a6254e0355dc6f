// The products of a step by tensor cores, for GPUs from sm_80 on: what simt.cu has in f32, with the same epilogues.
//
// tf32x3 is `high` (error as f32's), tf32 is `medium`, bf16 is less exact by three binary digits: operands are staged as f32
// all the same, but rounding takes an eighth of TF32's instructions and half as many products are made.
#include "epilogue.cuh"
#include "tensor.cuh"

#define KERNEL extern "C" __global__ void

#define PRODUCTS(name, suffix, Shape, numbers, blocks)                                                                 \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) forward_##name##_##suffix(const __grid_constant__ Tables tables) { \
        forward_tile<Tensor<Shape, numbers>>(tables);                                                                  \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) backward_##name##_##suffix(const __grid_constant__ Tables tables) { \
        backward_tile<Tensor<Shape, numbers>>(tables);                                                                 \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) learn_##name##_##suffix(const __grid_constant__ Tables tables) {  \
        learn_tile<Tensor<Shape, numbers>>(tables);                                                                    \
    }

PRODUCTS(tf32x3, s, SmallTensor, SPLIT_TF32, 3)
PRODUCTS(tf32x3, l, LargeTensor, SPLIT_TF32, 1)
PRODUCTS(tf32x3, n, NarrowTensor, SPLIT_TF32, 3)
PRODUCTS(tf32, s, SmallTensor, TF32, 4)
PRODUCTS(tf32, l, LargeTensor, TF32, 2)
PRODUCTS(tf32, n, NarrowTensor, TF32, 4)
PRODUCTS(bf16, s, SmallTensor, BF16, 4)
PRODUCTS(bf16, l, LargeTensor, BF16, 2)
PRODUCTS(bf16, n, NarrowTensor, BF16, 4)
