// What every kernel begins with: where its model is in the round, typed addresses, sums in a fixed order.
//
// Nothing is included and no fast arithmetic is on: products and sums are rounded one by one unless `fmaf` is written
// (-fmad=false), so a kernel computes the same bits whatever the compiler makes of it, and the formulas shared with the
// CPU give the CPU's bits. Sums run in an order that the shape alone fixes; there are no float atomics.
#pragma once
#include "descriptor.cuh"

#define DEVICE static __device__ __forceinline__

typedef float f32;
typedef double f64;

// Threads of a block of the kernels that have no tiles of a product.
enum { THREADS = 256 };

// An address in global memory, typed; the compiler then knows which memory it is.
template <class T> DEVICE T* global(u64 address) {
    return (T*)__cvta_global_to_generic(address);
}

// The same number, of which the compiler knows nothing: or it would write a loop once for each case of a condition that stays
// the same in it, and with a few such conditions never come to an end.
DEVICE u32 opaque(u32 x) {
    asm volatile("" : "+r"(x));
    return x;
}

DEVICE u64 opaque(u64 x) {
    asm volatile("" : "+l"(x));
    return x;
}

// What a model has to do in this step of the round.
struct At {
    u32 tick;   // of the round
    u32 first;  // index of the first row in Run::rows (or of the dataset)
    u32 rows;   // of the batch; 0: nothing to do
    u64 step;   // over the whole training, from 0
};

DEVICE At position(const Run& run, u32 tick) {
    At at;
    at.tick = tick, at.first = tick * run.batch;
    at.rows = tick < run.steps ? min(run.batch, run.row_count - at.first) : 0;
    at.step = run.first_step + tick;
    return at;
}

DEVICE At position(const Tables& tables, const Run& run) {
    return position(run, *global<u32>(tables.tick));
}

DEVICE Tile tile_of(const Tables& tables) {
    return global<const Tile>(tables.tiles)[blockIdx.x];
}

// The row of the dataset that row r of the batch is.
DEVICE u32 number(const Run& run, const At& at, u32 r) {
    return run.rows ? global<const u32>(run.rows)[at.first + r] : at.first + r;
}

// Sum over the lanes of a warp, the same in every lane.
DEVICE f32 warp_sum(f32 x) {
    for (int lanes = 16; lanes; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

DEVICE f64 warp_sum(f64 x) {
    for (int lanes = 16; lanes; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

// The largest, of those that are numbers.
DEVICE f32 warp_max(f32 x) {
    for (int lanes = 16; lanes; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}

// Sum over a block, the same in every thread; `partial` has one number a warp.
DEVICE f64 block_sum(f64 x, f64* partial) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    f64 sum = 0;
    for (u32 i = 0; i < blockDim.x / 32; i++) sum += partial[i];
    return sum;
}
