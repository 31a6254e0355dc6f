// The product of a 128 × 128 tile by Hopper's warpgroups (wgmma m64n128k8 on TF32), in the place of Tensor in tensor.cuh.
//
// Two warpgroups have 64 rows each. A comes as in tensor.cuh, f32 in shared memory in its own order, rounded when fragments are
// loaded: wgmma takes it from registers. B must be read by k from shared memory: it is rounded and, where its rows run across,
// transposed four by four on the way there. Without swizzle that is a grid of cells of 16 bytes, four k of one column; cells of
// 8 columns follow one another (a core matrix), STRIDE bytes lead to the next 8 columns and LEAD bytes to the next four k; LEAD
// is a cell longer than the columns, so that threads side by side along k write to different banks.
#pragma once
#include "tensor.cuh"

struct WarpgroupShape {
    enum {
        BM = 128, BN = 128, BK = 16, WM = 16, WN = 128, GM = 2, STAGES = 2, WARPS_N = 1, THREADS = 256,
        ALONG = BK + 4, PITCH_A = BM + 8, LEAD = BN * 16 + 16, STRIDE = 128,
        SIZE_A = BM * ALONG > BK * PITCH_A ? BM * ALONG : BK * PITCH_A, SIZE_B = BK / 4 * LEAD / 4,
        PART = BM / GM, PITCH_C = BN + 8, STAGE = SIZE_A + SIZE_B,
        SHARED = STAGES * STAGE > PART * PITCH_C ? STAGES * STAGE : PART * PITCH_C, WORDS = 4,
    };
};

// What a thread has of B on its way: two cells along k, or a block of 4 × 4 across.
template <bool ALONG_K> struct CellLoader {
    typedef WarpgroupShape S;
    enum { SLOTS = ALONG_K ? 2 : 4 };
    const Matrix& o;
    u32 origin;
    float4 held[SLOTS];
    float4 sums;  // of the rows of a block, in order

    __device__ __forceinline__ CellLoader(const Matrix& operand, u32 origin_) : o(operand), origin(origin_) {
        sums = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }

    // Where the thread's cells begin: column of the tile and cell along k.
    __device__ __forceinline__ u32 column(int s) const {
        return ALONG_K ? threadIdx.x / 4 + 64 * s : threadIdx.x % 32 * 4;
    }

    __device__ __forceinline__ u32 cell() const {
        return ALONG_K ? threadIdx.x % 4 : threadIdx.x / 32;
    }

    __device__ __forceinline__ void fetch(u32 k) {
        u32 kind = opaque(o.kind);
        if (!ALONG_K && cell() >= S::BK / 4) return;
#pragma unroll
        for (int s = 0; s < SLOTS; s++)
            held[s] = ALONG_K ? four(o, kind, line_of(o, origin + column(s)), k + cell() * 4)
                              : four(o, kind, line_of(o, k + cell() * 4 + s), origin + column(0));
    }

    __device__ __forceinline__ void store(f32* stage) {
        if (!ALONG_K && cell() >= S::BK / 4) return;
        f32* to = stage + cell() * (S::LEAD / 4);
        if (ALONG_K) {
#pragma unroll
            for (int s = 0; s < SLOTS; s++)
                put(to + column(s) * 4, held[s].x, held[s].y, held[s].z, held[s].w);
        } else {
            const float4 *h = held;
            put(to + column(0) * 4, h[0].x, h[1 % SLOTS].x, h[2 % SLOTS].x, h[3 % SLOTS].x);
            put(to + column(0) * 4 + 4, h[0].y, h[1 % SLOTS].y, h[2 % SLOTS].y, h[3 % SLOTS].y);
            put(to + column(0) * 4 + 8, h[0].z, h[1 % SLOTS].z, h[2 % SLOTS].z, h[3 % SLOTS].z);
            put(to + column(0) * 4 + 12, h[0].w, h[1 % SLOTS].w, h[2 % SLOTS].w, h[3 % SLOTS].w);
#pragma unroll
            for (int s = 0; s < SLOTS; s++) sums.x += h[s].x, sums.y += h[s].y, sums.z += h[s].z, sums.w += h[s].w;
        }
    }

    __device__ __forceinline__ void put(f32* to, f32 a, f32 b, f32 c, f32 d) {
        *(uint4*)to = make_uint4(tf32(a), tf32(b), tf32(c), tf32(d));
    }
};

// A matrix of cells that begins there, for wgmma.
DEVICE u64 described(const f32* cells) {
    u32 address = (u32)__cvta_generic_to_shared(cells);
    return (u64)((address & 0x3ffff) >> 4) | (u64)(WarpgroupShape::LEAD >> 4) << 16 | (u64)(WarpgroupShape::STRIDE >> 4) << 32;
}

// c += a·b for 64 × 128 over 8 by a warpgroup; a and c as in tensor.cuh, 16 rows a warp.
DEVICE void multiply_group(f32 (&c)[16][4], const u32 (&a)[4], u64 b) {
#define FOUR(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, 1, 1, 1;"
        : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9), FOUR(10), FOUR(11),
          FOUR(12), FOUR(13), FOUR(14), FOUR(15)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#undef FOUR
}

struct Warpgroup {
    typedef WarpgroupShape S;
    typedef S Shape;
    f32 acc[16][4];

    template <bool A_ALONG_K, bool B_ALONG_K, class A, class Columns>
    __device__ __forceinline__ void run(const A& a, const Matrix& b, u32 m0, u32 n0, u32 k, f32* shared,
                                        Columns& columns) {
#pragma unroll
        for (int i = 0; i < 64; i++) acc[i / 4][i % 4] = 0.0f;
        Carrier<S, A, S::BM, S::PITCH_A, A_ALONG_K> left(a, m0);
        CellLoader<B_ALONG_K> right(b, n0);
        u32 steps = (k + S::BK - 1) / S::BK;
        left.carry(0, shared);
        close_group();
        right.fetch(0);
        for (u32 s = 0; s < steps; s++) {
            f32 *as = shared + s % 2 * S::STAGE, *bs = as + S::SIZE_A;
            right.store(bs);
            // What was stored must be seen by the tensor cores' way to memory.
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            wait_groups<0>();
            __syncthreads();
            // The other turn was read before the barrier.
            if (s + 1 < steps) left.carry((s + 1) * S::BK, shared + (s + 1) % 2 * S::STAGE), right.fetch((s + 1) * S::BK);
            close_group();
            u32 fragments[S::BK / 8][4];
#pragma unroll
            for (int kk = 0; kk < S::BK / 8; kk++) load<A_ALONG_K>(fragments[kk], as, 8 * kk);
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
            for (int kk = 0; kk < S::BK / 8; kk++) multiply_group(acc, fragments[kk], described(bs + kk * 2 * (S::LEAD / 4)));
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
            asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        }
        __syncthreads();
        if (!B_ALONG_K) {
            // Sums of columns: of every fourth four rows by one thread, those together in order.
            if (right.cell() < S::BK / 4) *(float4*)(shared + right.cell() * S::BN + right.column(0)) = right.sums;
            __syncthreads();
            if (threadIdx.x < S::BN)
                for (u32 q = 0; q < S::BK / 4; q++) columns.add_one(shared[q * S::BN + threadIdx.x]);
            __syncthreads();
        }
    }

    template <bool ALONG_K> __device__ __forceinline__ void load(u32 (&fragment)[4], const f32* as, int kk) {
        u32 row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int h = 0; h < 4; h++) {
            u32 p = kk + t + h / 2 * 4, m = row + h % 2 * 8;
            fragment[h] = tf32(ALONG_K ? as[m * S::ALONG + p] : as[p * S::PITCH_A + m]);
        }
    }

    __device__ __forceinline__ void stage(int p, f32* shared) {
        u32 row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        if (row / S::PART != p) return;
        f32* to = shared + (row % S::PART + g) * S::PITCH_C + 2 * t;
#pragma unroll
        for (int j = 0; j < 16; j++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                *(float2*)(to + 8 * h * S::PITCH_C + 8 * j) = make_float2(acc[j][2 * h], acc[j][2 * h + 1]);
    }
};
