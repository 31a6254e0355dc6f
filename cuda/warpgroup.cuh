// The product of a large tile by Hopper's warpgroups (wgmma on TF32), in the place of Tensor in tensor.cuh.
//
// Two warpgroups have 64 rows each and all columns. wgmma on TF32 takes A from registers and B by k from shared memory. So a
// thread reads its part of A straight into registers, as vectors: no two warps need the same of it. B is rounded on its way into
// shared memory, and transposed where its rows run across. Both orders are chosen for the way there and none for what they mean:
// - k: of the 16 of a step, fragment kk has at t and t + 4 the numbers 4t + 2kk and 4t + 2kk + 1. A thread's four neighbours of
//   A are then its share of the step. B stands in cells of 16 bytes; cell c of a column holds k = c, c + 4, c + 8, c + 12.
// - columns: the tile's column n stands at (n % 4) · BN / 4 + n / 4, so that threads side by side write cells side by side, in
//   either order of B, and a thread gets four neighbours of a finished row.
// - rows: fragment rows g and g + 8 of a warp are its rows 2g and 2g + 1, which are read as pairs where A runs across.
// Eight cells of one k side by side are what wgmma calls a core matrix (no swizzle): nothing here conflicts for banks.
//
// While the tensor cores work on step s, what was fetched for s + 1 is rounded and stored and s + 3 is fetched; the next products
// are queued before those under way end. What is AHEAD of that comes to the L2 cache, as all multiprocessors get to it at once. SPLIT is `high`: see tensor.cuh; its sums go into f32 sums every 32 steps of k.
//
// Bounds on an H200 (132 multiprocessors, about 1.75 GHz): tensor cores make 1,024 multiply-adds a cycle, so a step of 16 of the
// 128 × 256 tile takes 512 cycles. It needs 24 KiB from the L2 cache, 48 bytes a cycle of 64; at the 7 TB/s that good kernels
// see of all multiprocessors together, that is 300 TFLOP/s (0.72 of the 418 that cuBLAS reaches) and the bound that counts. Shared
// memory: 128 cycles of stores and 256 of wgmma's reads of the 512. Three products of a 128 × 128 tile take 768 cycles a step for
// 16 KiB, 21 bytes a cycle; 64 additions a thread every other step leave about 120 TFLOP/s of `high`, of 139. As compiled for
// sm_90a a step has 170 (dX) to 240 (dW) instructions of each of two warps a scheduler, and 270 of `high`; all loads are waited
// for once every two steps, when they are a step and a half old. The epilogue is alone on its multiprocessor: 128 elements a
// thread, some 8 % of a product over 4096.
#pragma once
#include "tensor.cuh"

template <int BN_, bool SPLIT_> struct WarpgroupShape {
    enum {
        BM = 128, BN = BN_, BK = 16, THREADS = 256, SPLIT = SPLIT_,
        QUARTER = BN / 4,         // columns 4 apart
        LEAD = BN * 4,            // floats from cell to cell along k
        CELLS = 4 * LEAD,         // floats of a step's numbers
        TURN = CELLS * (SPLIT ? 2 : 1),
        GM = BN / 64, PART = BM / GM, PITCH_C = BN + 16, TURNED = 1,
        SHARED = 2 * TURN > PART * PITCH_C ? 2 * TURN : PART * PITCH_C, WORDS = 4,
    };
};

typedef WarpgroupShape<256, false> WideWarpgroup;
typedef WarpgroupShape<128, true> SplitWarpgroup;

// k that are brought to the L2 cache before they are read.
enum { AHEAD = 64 };

// What is not INSIDE is 0. There is no branch around these loads: where ways meet, what is on its way would be waited for.
#define ZEROED(load, ...) "{.reg .pred inside; setp.ne.u32 inside, " __VA_ARGS__ ", 0; " load "}"

DEVICE f32 one(const f32* from, bool inside) {
    f32 v;
    asm volatile(ZEROED("mov.f32 %0, 0f00000000; @inside ld.global.f32 %0, [%1];", "%2")
                 : "=&f"(v) : "l"(from), "r"((u32)inside));
    return v;
}

DEVICE u32 one(const u8* from, bool inside) {
    u32 v;
    asm volatile(ZEROED("mov.u32 %0, 0; @inside ld.global.u8 %0, [%1];", "%2") : "=&r"(v) : "l"(from), "r"((u32)inside));
    return v;
}

DEVICE float2 two(const f32* from, bool inside) {
    float2 v;
    asm volatile(ZEROED("mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000; @inside ld.global.v2.f32 {%0, %1}, [%2];", "%3")
                 : "=&f"(v.x), "=&f"(v.y) : "l"(from), "r"((u32)inside));
    return v;
}

DEVICE float4 four(const f32* from, bool inside) {
    float4 v;
    asm volatile(ZEROED("mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000; mov.f32 %2, 0f00000000; mov.f32 %3, 0f00000000; "
                        "@inside ld.global.L2::256B.v4.f32 {%0, %1, %2, %3}, [%4];", "%5")
                 : "=&f"(v.x), "=&f"(v.y), "=&f"(v.z), "=&f"(v.w) : "l"(from), "r"((u32)inside));
    return v;
}

// Of the BK rows from k on, which is row `first` + k in memory, WIDE columns of each: a thread has 128 bytes brought to the L2 cache.
template <class S, int WIDE> DEVICE void expect(const Matrix& o, u32 k, u32 first, u32 col) {
    u32 row = k + threadIdx.x / (WIDE / 32), c = col + threadIdx.x % (WIDE / 32) * 32;
    const f32* at = global<const f32>(o.data) + (u64)(first + row) * o.cols + c;
    asm volatile("{.reg .pred inside; setp.ne.u32 inside, %1, 0; @inside prefetch.global.L2 [%0];}" ::"l"(at),
                 "r"((u32)(threadIdx.x < S::BK * WIDE / 32 && row < o.rows && c < o.cols)));
}

// x ≈ big + small
template <bool SPLIT> DEVICE void halve(f32 x, u32& big, u32& small) {
    big = tf32(x);
    small = SPLIT ? tf32(x - __uint_as_float(big)) : 0;
}

// What a thread has of A: of two rows, four k. FAST: operands are f32, vectors of them are aligned, and k by k they are in order.
template <class S, class A, bool ALONG_K, bool FAST> struct Direct {
    const A& all;
    Matrix o;
    u32 m0, origin;
    u32 lines[4];  // ALONG_K: of the two rows; else of the next four k
    f32 held[2][2][4];  // of two steps

    __device__ __forceinline__ Direct(const A& operand, u32 m0_) : all(operand), o(operand), m0(m0_) {
        origin = m0 + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 * 2;
        if (ALONG_K) lines[0] = line_of(all, origin), lines[1] = line_of(all, origin + 1);
        else look(0);
    }

    // Where the next k are: of a dataset that may be numbers to be read first.
    __device__ __forceinline__ void look(u32 k) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            u32 row = k + threadIdx.x % 4 * 4 + e;
            lines[e] = FAST ? row < o.rows ? first(all) + row : (u32)OUTSIDE : line_of(all, row);
        }
    }

    static __device__ __forceinline__ u32 first(const Matrix&) { return 0; }
    static __device__ __forceinline__ u32 first(const Rows& rows) { return rows.first; }

    // A byte stays one until it is rounded.
    __device__ __forceinline__ void take(f32& x, u32 line, u32 col) {
        bool inside = line != OUTSIDE && col < o.cols, bytes = o.kind & BYTES;
        u64 at = (u64)line * o.cols + col;
        x = one(global<const f32>(o.data) + at, inside && !bytes);
        u32 byte = one(global<const u8>(o.data) + at, inside && bytes);
        if (bytes) x = __uint_as_float(byte);
    }

    __device__ __forceinline__ void fetch(u32 k, int set) {
        f32(&v)[2][4] = held[set];
        u32 col = ALONG_K ? k + threadIdx.x % 4 * 4 : origin;
#pragma unroll
        for (int h = 0; h < (ALONG_K ? 2 : 4); h++) {
            const f32* from = global<const f32>(o.data) + (u64)lines[h] * o.cols + col;
            bool inside = lines[h] != OUTSIDE && col < o.cols;
            if (FAST && ALONG_K) {
                float4 x = four(from, inside);
                v[h % 2][0] = x.x, v[h % 2][1] = x.y, v[h % 2][2] = x.z, v[h % 2][3] = x.w;
            } else if (FAST) {
                float2 x = two(from, inside);
                v[0][h] = x.x, v[1][h] = x.y;
            } else if (ALONG_K) {
#pragma unroll
                for (int i = 0; i < 4; i++) take(v[h % 2][i], lines[h], col + i);
            } else {
                take(v[0][h], lines[h], col), take(v[1][h], lines[h], col + 1);
            }
        }
        if (ALONG_K) return;
        if (FAST) expect<S, S::BM>(o, k + AHEAD, first(all), m0);
        look(k + S::BK);
    }

    // Bytes become numbers; what is outside stays 0.
    __device__ __forceinline__ void read(const Matrix&, f32 (&)[2][4]) {}

    __device__ __forceinline__ void read(const Rows& rows, f32 (&v)[2][4]) {
        if (!FAST && (o.kind & BYTES)) {
#pragma unroll
            for (int i = 0; i < 8; i++) v[i / 4][i % 4] = (f32)__float_as_uint(v[i / 4][i % 4]) * rows.scale;
        }
    }

    __device__ __forceinline__ void round(u32 (&big)[2][4], u32 (&small)[2][4], int set) {
        read(all, held[set]);
#pragma unroll
        for (int kk = 0; kk < 2; kk++)
#pragma unroll
            for (int i = 0; i < 4; i++) halve<S::SPLIT>(held[set][i % 2][2 * kk + i / 2], big[kk][i], small[kk][i]);
    }
};

// What a thread has of B: of SLOTS columns, four neighbours along k; or of four neighbouring columns, SLOTS k of a cell.
template <class S, bool ALONG_K, bool FAST, bool SUMS> struct Cells {
    enum { SLOTS = S::BN / 64, PIECES = 4 / SLOTS };
    Matrix o;
    u32 origin;
    float4 held[2][SLOTS];  // of two steps
    float4 sums;  // over the thread's k, in order

    __device__ __forceinline__ Cells(const Matrix& operand, u32 n0) : o(operand), origin(n0) {
        sums = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }

    // ALONG_K: four neighbours and column, as place in a quarter and which quarter is the first.
    __device__ __forceinline__ u32 along() const { return threadIdx.x % 4; }
    __device__ __forceinline__ u32 place() const { return threadIdx.x / 4 % S::QUARTER; }
    __device__ __forceinline__ u32 quarter() const { return threadIdx.x / 4 / S::QUARTER * SLOTS; }

    // Across: which piece of a cell, which four columns, which cell.
    __device__ __forceinline__ u32 piece() const { return threadIdx.x % PIECES; }
    __device__ __forceinline__ u32 across() const { return threadIdx.x / PIECES % S::QUARTER; }
    __device__ __forceinline__ u32 cell() const { return threadIdx.x / PIECES / S::QUARTER; }

    __device__ __forceinline__ void fetch(u32 k, int set) {
        float4(&v)[SLOTS] = held[set];
        u32 col = ALONG_K ? k + 4 * along() : origin + 4 * across();
#pragma unroll
        for (int s = 0; s < SLOTS; s++) {
            u32 row = ALONG_K ? origin + 4 * place() + quarter() + s : k + cell() + 4 * (piece() * SLOTS + s);
            const f32* from = global<const f32>(o.data) + (u64)row * o.cols + col;
            if (FAST) v[s] = four(from, row < o.rows && col < o.cols);
            else v[s] = make_float4(one(from, row < o.rows && col < o.cols), one(from + 1, row < o.rows && col + 1 < o.cols),
                                       one(from + 2, row < o.rows && col + 2 < o.cols), one(from + 3, row < o.rows && col + 3 < o.cols));
        }
        if (FAST && !ALONG_K) expect<S, S::BN>(o, k + AHEAD, 0, origin);
    }

    __device__ __forceinline__ void store(f32* turn, int set) {
        const float4(&h)[SLOTS] = held[set];
        if (ALONG_K) {
#pragma unroll
            for (int s = 0; s < SLOTS; s++) {
                f32* to = turn + ((quarter() + s) * S::QUARTER + place()) * 4 + along();
                put(to, h[s].x), put(to + S::LEAD, h[s].y);
                put(to + 2 * S::LEAD, h[s].z), put(to + 3 * S::LEAD, h[s].w);
            }
        } else {
            f32* to = turn + cell() * S::LEAD + across() * 4 + piece() * SLOTS;
            f32 v[4][SLOTS];
#pragma unroll
            for (int s = 0; s < SLOTS; s++) {
                v[0][s] = h[s].x, v[1][s] = h[s].y, v[2][s] = h[s].z, v[3][s] = h[s].w;
                if (SUMS) sums.x += h[s].x, sums.y += h[s].y, sums.z += h[s].z, sums.w += h[s].w;
            }
#pragma unroll
            for (int q = 0; q < 4; q++) put(to + q * S::QUARTER * 4, v[q]);
        }
    }

    __device__ __forceinline__ void put(f32* to, f32 x) {
        u32 big, small;
        halve<S::SPLIT>(x, big, small);
        *(u32*)to = big;
        if (S::SPLIT) *(u32*)(to + S::CELLS) = small;
    }

    __device__ __forceinline__ void put(f32* to, const f32 (&x)[4]) {
        uint4 big, small;
        halve<S::SPLIT>(x[0], big.x, small.x), halve<S::SPLIT>(x[1], big.y, small.y);
        halve<S::SPLIT>(x[2], big.z, small.z), halve<S::SPLIT>(x[3], big.w, small.w);
        *(uint4*)to = big;
        if (S::SPLIT) *(uint4*)(to + S::CELLS) = small;
    }

    __device__ __forceinline__ void put(f32* to, const f32 (&x)[2]) {
        uint2 big, small;
        halve<S::SPLIT>(x[0], big.x, small.x), halve<S::SPLIT>(x[1], big.y, small.y);
        *(uint2*)to = big;
        if (S::SPLIT) *(uint2*)(to + S::CELLS) = small;
    }
};

// Cells that begin there, for wgmma: 128 bytes lead to the next 8 columns.
template <class S> DEVICE u64 described(const f32* cells) {
    u32 address = (u32)__cvta_generic_to_shared(cells);
    return (u64)((address & 0x3ffff) >> 4) | (u64)(S::LEAD / 4) << 16 | (u64)(128 >> 4) << 32;
}

#define FOUR(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define SIXTEEN(j) FOUR(j), FOUR(j + 1), FOUR(j + 2), FOUR(j + 3)

// c = a·b, or where it goes ON c += a·b, for 64 × 128 over 8 by a warpgroup; a and c as in tensor.cuh, 16 rows a warp.
template <bool ON> DEVICE void multiply_group(f32 (&c)[16][4], const u32 (&a)[4], u64 b) {
    asm volatile(
        "{.reg .pred on; setp.ne.u32 on, %69, 0; "
        "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, %68, on, 1, 1;}"
        : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"((int)ON));
}

// The same for 64 × 256.
template <bool ON> DEVICE void multiply_group(f32 (&c)[32][4], const u32 (&a)[4], u64 b) {
    asm volatile(
        "{.reg .pred on; setp.ne.u32 on, %133, 0; "
        "wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
        "{%128, %129, %130, %131}, %132, on, 1, 1;}"
        : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12), SIXTEEN(16), SIXTEEN(20), SIXTEEN(24), SIXTEEN(28)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"((int)ON));
}

#undef SIXTEEN
#undef FOUR

template <int LEFT> DEVICE void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

template <class S> struct Warpgroup {
    typedef S Shape;
    enum { NT = S::BN / 8 };
    f32 acc[NT][4];

    template <bool A_ALONG_K, bool B_ALONG_K, class A, class Columns>
    __device__ __forceinline__ void run(const A& a, const Matrix& b, u32 m0, u32 n0, u32 k, f32* shared,
                                        Columns& columns) {
        clear(acc);
        if (a.kind == VECTORS && b.kind == VECTORS && (A_ALONG_K || in_order(a))) sum<A_ALONG_K, B_ALONG_K, true>(a, b, m0, n0, k, shared, columns);
        else sum<A_ALONG_K, B_ALONG_K, false>(a, b, m0, n0, k, shared, columns);
    }

    // Rows follow one another.
    static __device__ __forceinline__ bool in_order(const Matrix&) { return true; }
    static __device__ __forceinline__ bool in_order(const Rows& rows) { return !rows.numbers; }

    template <bool A_ALONG_K, bool B_ALONG_K, bool FAST, class A, class Columns>
    __device__ __forceinline__ void sum(const A& a, const Matrix& b, u32 m0, u32 n0, u32 k, f32* shared,
                                        Columns& columns) {
        f32 part[NT][4];
        if (S::SPLIT) clear(part);
        Direct<S, A, A_ALONG_K, FAST> left(a, m0);
        Cells<S, B_ALONG_K, FAST, Columns::WANTED> right(b, n0);
        u32 big[2][2][4], small[2][2][4];
        u64 cells = described<S>(shared);
        left.fetch(0, 0), right.fetch(0, 0);
        left.fetch(S::BK, 1), right.fetch(S::BK, 1);
        ready(left, right, shared, big, small, 0);
        left.fetch(2 * S::BK, 0), right.fetch(2 * S::BK, 0);
#pragma unroll 1
        for (u32 from = 0; from < k; from += 2 * S::BK) {
#pragma unroll
            for (int turn = 0; turn < 2; turn++) {
                asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
                if (S::SPLIT) split_step(part, big[turn], small[turn], cells + turn * (S::TURN / 4), turn == 0);
                else step(acc, big[turn], cells + turn * (S::TURN / 4));
                asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
                // The step before is done, in all warps: its turn and its fragments may be overwritten.
                if (!S::SPLIT || turn == 1) wait_products<1>();
                __syncthreads();
                ready(left, right, shared, big, small, 1 - turn);
                left.fetch(from + (turn + 3) * S::BK, 1 - turn), right.fetch(from + (turn + 3) * S::BK, 1 - turn);
            }
            if (S::SPLIT) {
                wait_products<0>();
                settled(part);
#pragma unroll
                for (int i = 0; i < NT * 4; i++) acc[i / 4][i % 4] += part[i / 4][i % 4];
            }
        }
        wait_products<0>();
        settled(acc);
        __syncthreads();
        if (Columns::WANTED) columns_of(right, shared, columns);
    }

    // Rounds what is held for that turn, B into shared memory; the tensor cores reach it by a way of their own.
    template <class Left, class Right>
    static __device__ __forceinline__ void ready(Left& left, Right& right, f32* shared, u32 (&big)[2][2][4],
                                                 u32 (&small)[2][2][4], int turn) {
        right.store(shared + turn * S::TURN, turn);
        left.round(big[turn], small[turn], turn);
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
    }

    static __device__ __forceinline__ void step(f32 (&c)[NT][4], const u32 (&a)[2][4], u64 cells) {
#pragma unroll
        for (int kk = 0; kk < 2; kk++) multiply_group<true>(c, a[kk], cells + kk * (S::LEAD / 2));
    }

    // FIRST: of the 32 that go into one sum.
    static __device__ __forceinline__ void split_step(f32 (&c)[NT][4], const u32 (&big)[2][4], const u32 (&small)[2][4],
                                                      u64 cells, bool first) {
#pragma unroll
        for (int kk = 0; kk < 2; kk++) {
            u64 high = cells + kk * (S::LEAD / 2), low = high + S::CELLS / 4;
            if (first && kk == 0) multiply_group<false>(c, small[kk], high);
            else multiply_group<true>(c, small[kk], high);
            multiply_group<true>(c, big[kk], low);
            multiply_group<true>(c, big[kk], high);
        }
    }

    static __device__ __forceinline__ void clear(f32 (&c)[NT][4]) {
#pragma unroll
        for (int i = 0; i < NT * 4; i++) c[i / 4][i % 4] = 0.0f;
    }

    // The compiler may not move what reads them before the wait.
    static __device__ __forceinline__ void settled(f32 (&c)[NT][4]) {
#pragma unroll
        for (int i = 0; i < NT * 4; i++) asm volatile("" : "+f"(c[i / 4][i % 4])::"memory");
    }

    // The sums of B's columns: what each thread has of them, added in order.
    template <class Right, class Columns>
    static __device__ __forceinline__ void columns_of(const Right& right, f32* shared, Columns& columns) {
        u32 lane = right.cell() * Right::PIECES + right.piece();
        *(float4*)(shared + lane * S::BN + 4 * right.across()) = right.sums;
        __syncthreads();
        if (threadIdx.x < S::BN)
            for (u32 q = 0; q < 4 * Right::PIECES; q++) columns.add_one(shared[q * S::BN + threadIdx.x]);
        __syncthreads();
    }

    __device__ __forceinline__ void stage(int p, f32* shared) {
        u32 row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        if (row / S::PART != p) return;
        f32* to = shared + (row % S::PART + 2 * g) * S::PITCH_C + 8 * t;
        u32 turned = g % 2 * 4;  // as spot() has it
#pragma unroll
        for (int j = 0; j < NT / 4; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                *(float4*)(to + i / 2 * S::PITCH_C + 32 * j + (4 * (i % 2) ^ turned)) =
                    make_float4(acc[j][i], acc[j + NT / 4][i], acc[j + NT / 2][i], acc[j + 3 * (NT / 4)][i]);
    }
};
