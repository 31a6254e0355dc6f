// The product of a tile by tensor cores (mma.sync on TF32 or bf16), in the place of Simt in tile.cuh.
//
// Operands wait in shared memory as f32, in their own order (a row along k, or k by k), brought by cp.async, 16 bytes at a time
// where they are aligned and 4 where not; a dataset's bytes through registers. They are rounded to TF32 by cvt.rna when fragments
// are loaded: the hardware alone would cut digits off, which biases sums of numbers of one sign. SPLIT is `high`: each operand is
// the sum of two TF32 numbers and three products of the four are made (the fourth is below f32); since tensor cores cut off what
// they add to, their sums go into f32 sums every 32 steps of k. BF16 rounds to nearest, two numbers by one instruction.
#pragma once
#include "tile.cuh"

// BM × BN by warps of WM × WN, through STAGES turns of shared memory.
template <int BM_, int BN_, int WM_, int WN_, int GM_, int STAGES_> struct TensorShape {
    enum {
        BM = BM_, BN = BN_, BK = 16, WM = WM_, WN = WN_, GM = GM_, STAGES = STAGES_,
        WARPS_N = BN / WN, THREADS = BM / WM * WARPS_N * 32,
        // Rows along k, and rows across: fragments are read without bank conflicts.
        ALONG = BK + 4, PITCH_A = BM + 8, PITCH_B = BN + 8,
        SIZE_A = BM * ALONG > BK * PITCH_A ? BM * ALONG : BK * PITCH_A,
        SIZE_B = BN * ALONG > BK * PITCH_B ? BN * ALONG : BK * PITCH_B,
        PART = BM / GM, PITCH_C = BN + 8,
        STAGE = SIZE_A + SIZE_B,
        SHARED = STAGES * STAGE > PART * PITCH_C ? STAGES * STAGE : PART * PITCH_C,
        WORDS = BN < 64 ? BN / 16 : 4, TURNED = 0,
    };
};

typedef TensorShape<64, 64, 32, 32, 1, 4> SmallTensor;
typedef TensorShape<128, 128, 64, 32, 2, 2> LargeTensor;
typedef TensorShape<128, 16, 32, 16, 1, 3> NarrowTensor;

// 16 bytes from global to shared memory, or as many zeros; done when the group is waited for.
DEVICE void copy_later(f32* to, const f32* from, bool inside) {
    u32 target = (u32)__cvta_generic_to_shared(to), bytes = inside ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
}

// 4 bytes likewise.
DEVICE void copy_one_later(f32* to, const f32* from, bool inside) {
    u32 target = (u32)__cvta_generic_to_shared(to), bytes = inside ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(from), "r"(bytes) : "memory");
}

DEVICE void close_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int LEFT> DEVICE void wait_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// The nearest TF32 number, ties away from 0.
DEVICE u32 tf32(f32 x) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// c += a·b for 16 × 8 over 8. With g = lane / 4 and t = lane % 4 a thread has a at (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4),
// b at (t, g), (t + 4, g), and c at (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
DEVICE void multiply(f32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Whether an operand is rows of a dataset, which may be bytes and whose numbers have to be read first.
template <class O> struct Looked {
    enum { UP = 0 };
};
template <> struct Looked<Rows> {
    enum { UP = 1 };
};

// Four bytes that are neighbours, from `col` on; what lies outside is 0.
DEVICE u32 four_bytes(const Rows& o, u32 kind, u32 line, u32 col) {
    if (line == OUTSIDE || col >= o.cols) return 0;
    const u8* from = global<const u8>(o.data) + (u64)line * o.cols + col;
    if (kind & VECTORS) return *(const u32*)from;
    u32 word = 0;
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (col + i < o.cols) word |= (u32)from[i] << 8 * i;
    return word;
}

// Brings R × BK elements of an operand to shared memory in the operand's own order. Bytes cannot be copied there, since they have
// to become f32: they wait in registers while the step before is computed, and the numbers of rows while the one before that is.
template <class S, class O, int R, int PITCH, bool ALONG_K> struct Carrier {
    enum { FOURS = R * S::BK / 4, SLOTS = (FOURS + S::THREADS - 1) / S::THREADS, WIDE = ALONG_K ? S::BK / 4 : R / 4 };
    const O& o;
    u32 origin;
    u32 lines[SLOTS];  // where rows stay the same from k to k, or have to be looked up: of the next k
    u32 words[SLOTS];  // bytes on their way

    __device__ __forceinline__ Carrier(const O& operand, u32 origin_) : o(operand), origin(origin_) {
        if (ALONG_K || Looked<O>::UP) {
#pragma unroll
            for (int s = 0; s < SLOTS; s++)
                lines[s] = line_of(o, (ALONG_K ? origin : 0) + (threadIdx.x + s * S::THREADS) / WIDE);
        }
    }

    static __device__ __forceinline__ f32* place(f32* stage, u32 e) {
        return stage + e / WIDE * (ALONG_K ? (u32)S::ALONG : (u32)PITCH) + e % WIDE * 4;
    }

    // One k after the other, from 0 on.
    __device__ __forceinline__ void carry(u32 k, f32* stage) {
        u32 kind = opaque(o.kind);
#pragma unroll
        for (int s = 0; s < SLOTS; s++) {
            u32 e = threadIdx.x + s * S::THREADS;
            if (FOURS % S::THREADS != 0 && e >= FOURS) break;
            u32 line = ALONG_K || Looked<O>::UP ? lines[s] : line_of(o, k + e / WIDE);
            if (!ALONG_K && Looked<O>::UP) lines[s] = line_of(o, k + S::BK + e / WIDE);
            u32 col = (ALONG_K ? k : origin) + e % WIDE * 4;
            if constexpr (Looked<O>::UP) {
                if (kind & BYTES) {
                    words[s] = four_bytes(o, kind, line, col);
                    continue;
                }
            }
            f32* to = place(stage, e);
            bool inside = line != OUTSIDE && col < o.cols;
            const f32* from = global<const f32>(o.data) + (inside ? (u64)line * o.cols + col : 0);
            if (kind == VECTORS) {
                copy_later(to, from, inside);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    bool there = inside && col + i < o.cols;
                    copy_one_later(to + i, from + (there ? i : 0), there);
                }
            }
        }
    }

    // Puts what was on its way into its turn, before the barrier after which that is read.
    __device__ __forceinline__ void settle(f32* stage) {
        if constexpr (Looked<O>::UP) {
            if (!(opaque(o.kind) & BYTES)) return;
#pragma unroll
            for (int s = 0; s < SLOTS; s++) {
                u32 e = threadIdx.x + s * S::THREADS;
                if (FOURS % S::THREADS != 0 && e >= FOURS) break;
                f32 v[4];
#pragma unroll
                for (int i = 0; i < 4; i++) v[i] = (f32)(words[s] >> 8 * i & 255) * o.scale;
                *(float4*)place(stage, e) = make_float4(v[0], v[1], v[2], v[3]);
            }
        }
    }
};

// Two numbers as bf16, the first one in the lower half.
DEVICE u32 halves(f32 first, f32 second) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

// c += a·b for 16 × 8 over 16: a and b as above in pairs of halves, which k those are is the same for both.
DEVICE void multiply_halves(f32 (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

enum Numbers { TF32, SPLIT_TF32, BF16 };

template <class S, int NUMBERS> struct Tensor {
    typedef S Shape;
    enum { MT = S::WM / 16, NT = S::WN / 8, SPLIT = NUMBERS == SPLIT_TF32 };
    f32 acc[MT][NT][4];

    template <bool A_ALONG_K, bool B_ALONG_K, class A, class Columns>
    __device__ __forceinline__ void run(const A& a, const Matrix& b, u32 m0, u32 n0, u32 k, f32* shared,
                                        Columns& columns) {
        f32 part[MT][NT][4];
        clear(acc);
        if (SPLIT) clear(part);
        Carrier<S, A, S::BM, S::PITCH_A, A_ALONG_K> left(a, m0);
        Carrier<S, Matrix, S::BN, S::PITCH_B, B_ALONG_K> right(b, n0);
        u32 steps = (k + S::BK - 1) / S::BK;
#pragma unroll 1
        for (u32 s = 0; s + 1 < S::STAGES; s++) {
            if (s < steps) carry(left, right, s, shared), settle(left, s, shared);
            close_group();
        }
        for (u32 s = 0; s < steps; s++) {
            wait_groups<S::STAGES - 2>();
            __syncthreads();
            // The turn that is filled now was read before the barrier.
            if (s + S::STAGES - 1 < steps) carry(left, right, s + S::STAGES - 1, shared);
            close_group();
            const f32 *as = shared + s % S::STAGES * S::STAGE, *bs = as + S::SIZE_A;
            columns.add(bs);
            if constexpr (NUMBERS == BF16) {
                halves_step<A_ALONG_K, B_ALONG_K>(acc, as, bs);
            } else {
#pragma unroll
                for (int kk = 0; kk < S::BK; kk += 8) step<A_ALONG_K, B_ALONG_K>(SPLIT ? part : acc, as, bs, kk);
            }
            if (s + S::STAGES - 1 < steps) settle(left, s + S::STAGES - 1, shared);
            if (SPLIT && (s % 2 == 1 || s + 1 == steps)) {
#pragma unroll
                for (int i = 0; i < MT * NT * 4; i++) acc[i / 4 / NT][i / 4 % NT][i % 4] += part[i / 4 / NT][i / 4 % NT][i % 4];
                clear(part);
            }
        }
        wait_groups<0>();
        __syncthreads();
    }

    __device__ __forceinline__ void clear(f32 (&x)[MT][NT][4]) {
#pragma unroll
        for (int i = 0; i < MT * NT * 4; i++) x[i / 4 / NT][i / 4 % NT][i % 4] = 0.0f;
    }

    template <class Left, class Right>
    __device__ __forceinline__ void carry(Left& left, Right& right, u32 s, f32* shared) {
        f32* stage = shared + s % S::STAGES * S::STAGE;
        left.carry(s * S::BK, stage), right.carry(s * S::BK, stage + S::SIZE_A);
    }

    template <class Left> __device__ __forceinline__ void settle(Left& left, u32 s, f32* shared) {
        left.settle(shared + s % S::STAGES * S::STAGE);
    }

    // Eight steps of k from kk on.
    template <bool A_ALONG_K, bool B_ALONG_K>
    __device__ __forceinline__ void step(f32 (&c)[MT][NT][4], const f32* as, const f32* bs, int kk) {
        u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        u32 row = warp / S::WARPS_N * S::WM + g, col = warp % S::WARPS_N * S::WN + g;
        u32 high[NT][2], low[NT][2];
#pragma unroll
        for (int j = 0; j < NT; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                u32 p = kk + t + 4 * h, n = col + 8 * j;
                split(B_ALONG_K ? bs[n * S::ALONG + p] : bs[p * S::PITCH_B + n], high[j][h], low[j][h]);
            }
#pragma unroll
        for (int i = 0; i < MT; i++) {
            u32 big[4], small[4];
#pragma unroll
            for (int h = 0; h < 4; h++) {
                u32 p = kk + t + h / 2 * 4, m = row + 16 * i + h % 2 * 8;
                split(A_ALONG_K ? as[m * S::ALONG + p] : as[p * S::PITCH_A + m], big[h], small[h]);
            }
#pragma unroll
            for (int j = 0; j < NT; j++) {
                if (SPLIT) multiply(c[i][j], small, high[j]), multiply(c[i][j], big, low[j]);
                multiply(c[i][j], big, high[j]);
            }
        }
    }

    // All 16 steps of k. A pair is t and t + 4, of the first eight and of the last: read as TF32 is, without bank conflicts.
    template <bool A_ALONG_K, bool B_ALONG_K>
    __device__ __forceinline__ void halves_step(f32 (&c)[MT][NT][4], const f32* as, const f32* bs) {
        u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        u32 row = warp / S::WARPS_N * S::WM + g, col = warp % S::WARPS_N * S::WN + g;
        u32 b[NT][2];
#pragma unroll
        for (int j = 0; j < NT; j++)
#pragma unroll
            for (int h = 0; h < 2; h++) b[j][h] = pair<B_ALONG_K, S::PITCH_B>(bs, col + 8 * j, t + 8 * h);
#pragma unroll
        for (int i = 0; i < MT; i++) {
            u32 a[4];
#pragma unroll
            for (int h = 0; h < 4; h++) a[h] = pair<A_ALONG_K, S::PITCH_A>(as, row + 16 * i + h % 2 * 8, t + h / 2 * 8);
#pragma unroll
            for (int j = 0; j < NT; j++) multiply_halves(c[i][j], a, b[j]);
        }
    }

    // Numbers p and p + 4 along k of a row or column of the tile.
    template <bool ALONG_K, int PITCH> static __device__ __forceinline__ u32 pair(const f32* from, u32 line, u32 p) {
        return ALONG_K ? halves(from[line * S::ALONG + p], from[line * S::ALONG + p + 4])
                       : halves(from[p * PITCH + line], from[(p + 4) * PITCH + line]);
    }

    // x ≈ big + small
    __device__ __forceinline__ void split(f32 x, u32& big, u32& small) {
        big = tf32(x);
        small = SPLIT ? tf32(x - __uint_as_float(big)) : 0;
    }

    __device__ __forceinline__ void stage(int p, f32* shared) {
        u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        u32 row = warp / S::WARPS_N * S::WM, col = warp % S::WARPS_N * S::WN + 2 * t;
        if (row / S::PART != p) return;
        f32* to = shared + (row % S::PART + g) * S::PITCH_C + col;
#pragma unroll
        for (int i = 0; i < MT; i++)
#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    *(float2*)(to + (16 * i + 8 * h) * S::PITCH_C + 8 * j) = make_float2(acc[i][j][2 * h], acc[i][j][2 * h + 1]);
    }
};
