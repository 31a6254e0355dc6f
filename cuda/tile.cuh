// One tile of a product C = A·B by one block: operands through shared memory in two turns, 4 × 4 patches a thread.
//
// Every element of C is one sum over k in order, one fused multiply-add a term, whatever the shape of the tile: the tile
// shapes give the same bits. What is outside the operands counts as 0. Finished, the tile goes through shared memory in
// parts, so that an epilogue (epilogue.cuh) reads and writes rows of global memory by neighbouring threads, and is one
// loop over elements instead of code for every register.
#pragma once
#include "common.cuh"

// BM × BN elements, by warps of LX lanes side by side, WARPS_N warps side by side; a thread has GM × GN patches of 4 × 4,
// BM / GM rows and BN / GN columns apart.
template <int BM_, int BN_, int GM_, int GN_, int LX_, int WARPS_N_> struct TileShape {
    enum {
        BM = BM_, BN = BN_, BK = 8, GM = GM_, GN = GN_, LX = LX_, WARPS_N = WARPS_N_,
        THREADS = BM / (4 * GM) * (BN / (4 * GN)),
        // Rows of A and B in shared memory; the rest keeps vectors aligned and columns in different banks.
        PITCH_A = BM + 4, PITCH_B = BN + 4,
        STAGE = BK * (PITCH_A + PITCH_B),
        // The finished tile goes through shared memory in GM parts of these rows.
        PART = BM / GM, PITCH_C = BN + 16,
        SHARED = 2 * STAGE > PART * PITCH_C ? 2 * STAGE : PART * PITCH_C,
        // Words of a Philox block, 16 columns apart, that a thread of an epilogue has.
        WORDS = BN < 64 ? BN / 16 : 4,
        // Whether neighbouring fours change places in every other pair of rows of the finished tile.
        TURNED = 0,
    };
};

typedef TileShape<64, 64, 2, 2, 8, 1> Small;
typedef TileShape<128, 128, 2, 2, 8, 2> Large;
typedef TileShape<128, 16, 1, 1, 4, 1> Narrow;

// A matrix of f32 as an operand. Operands stand in shared memory, since the product needs the registers.
struct Matrix {
    u64 data;
    u32 rows, cols;
    u32 kind;  // VECTORS and, of a dataset, BYTES
};

// Rows of a dataset, in f32 or bytes, in the order of the row numbers; or a matrix.
struct Rows : Matrix {
    u64 numbers;  // u32s; 0: rows follow one another
    u32 first;    // index of the first in `numbers`, or number of the first row
    f32 scale;    // bytes are multiplied by it
};

// Four neighbours may be read at once. Elements are u8.
enum { VECTORS = 1, BYTES = 2 };

DEVICE Matrix matrix(u64 data, u32 rows, u32 cols) {
    Matrix o;
    o.data = data, o.rows = rows, o.cols = cols, o.kind = cols % 4 == 0 && data % 16 == 0 ? VECTORS : 0;
    return o;
}

// What a layer reads: the output of the layer before, or the batch's rows of the dataset.
DEVICE Rows input_of(const Model& model, const Layer& layer, const Run& run, const At& at) {
    Rows o;
    *(Matrix*)&o = matrix(layer.x ? layer.x : model.features, at.rows, layer.inputs);
    o.numbers = 0, o.first = 0, o.scale = 1.0f;
    if (!layer.x) {
        o.numbers = run.rows, o.first = at.first;
        if (model.bytes)
            o.scale = model.scale, o.kind = BYTES | (o.cols % 4 == 0 && o.data % 4 == 0 ? VECTORS : 0);
    }
    return o;
}

// No row of an operand.
enum { OUTSIDE = ~0u };

// The number of a row in memory.
DEVICE u32 line_of(const Matrix& o, u32 row) {
    return row < o.rows ? row : (u32)OUTSIDE;
}

DEVICE u32 line_of(const Rows& o, u32 row) {
    return row >= o.rows ? (u32)OUTSIDE : o.numbers ? global<const u32>(o.numbers)[o.first + row] : o.first + row;
}

// Four neighbours of that line, from `col` on; what lies outside is 0.
DEVICE float4 four(const Matrix& o, u32 kind, u32 line, u32 col) {
    f32 v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (line != OUTSIDE && col < o.cols) {
        const f32* p = global<const f32>(o.data) + (u64)line * o.cols + col;
        if (kind & VECTORS) {
            float4 all = *(const float4*)p;
            v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (col + i < o.cols) v[i] = p[i];
        }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}

DEVICE float4 four(const Rows& o, u32 kind, u32 line, u32 col) {
    f32 v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (line != OUTSIDE && col < o.cols) {
        u64 start = (u64)line * o.cols + col;
        if (kind == VECTORS) {
            float4 all = *(const float4*)(global<const f32>(o.data) + start);
            v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
        } else if (kind & VECTORS) {
            u32 word = *(const u32*)(global<const u8>(o.data) + start);
#pragma unroll
            for (int i = 0; i < 4; i++) v[i] = (f32)(word >> 8 * i & 255) * o.scale;
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (col + i >= o.cols) continue;
                if (kind) v[i] = (f32)global<const u8>(o.data)[start + i] * o.scale;
                else v[i] = global<const f32>(o.data)[start + i];
            }
        }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}

// Brings R × BK elements of an operand to shared memory, k by k. ALONG_K: the operand's rows run along k and it is
// transposed on the way; else its rows are the k.
template <class S, class O, int R, int PITCH, bool ALONG_K> struct Loader {
    enum { FOURS = R * S::BK / 4, SLOTS = (FOURS + S::THREADS - 1) / S::THREADS };
    const O& o;
    u32 origin;
    u32 lines[SLOTS];  // where rows stay the same from k to k
    float4 held[SLOTS];

    __device__ __forceinline__ Loader(const O& operand, u32 origin_) : o(operand), origin(origin_) {
        if (ALONG_K) {
#pragma unroll
            for (int s = 0; s < SLOTS; s++)
                lines[s] = line_of(o, origin + (threadIdx.x + s * S::THREADS) / (S::BK / 4));
        }
    }

    __device__ __forceinline__ void fetch(u32 k) {
        u32 kind = opaque(o.kind);
#pragma unroll
        for (int s = 0; s < SLOTS; s++) {
            u32 e = threadIdx.x + s * S::THREADS;
            if (FOURS % S::THREADS != 0 && e >= FOURS) break;
            if (ALONG_K) {
                held[s] = four(o, kind, lines[s], k + e % (S::BK / 4) * 4);
            } else {
                held[s] = four(o, kind, line_of(o, k + e / (R / 4)), origin + e % (R / 4) * 4);
            }
        }
    }

    __device__ __forceinline__ void store(f32* stage) {
#pragma unroll
        for (int s = 0; s < SLOTS; s++) {
            u32 e = threadIdx.x + s * S::THREADS;
            if (FOURS % S::THREADS != 0 && e >= FOURS) break;
            if (ALONG_K) {
                f32* to = stage + e % (S::BK / 4) * 4 * PITCH + e / (S::BK / 4);
                to[0] = held[s].x, to[PITCH] = held[s].y, to[2 * PITCH] = held[s].z, to[3 * PITCH] = held[s].w;
            } else {
                *(float4*)(stage + e / (R / 4) * PITCH + e % (R / 4) * 4) = held[s];
            }
        }
    }
};

// Where a thread's patches are in a part of the tile.
template <class S> struct Place {
    u32 row, col;
    __device__ __forceinline__ Place() {
        u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        row = warp / S::WARPS_N * (32 / S::LX * 4) + lane / S::LX * 4;
        col = warp % S::WARPS_N * (S::LX * 4) + lane % S::LX * 4;
    }
};

// The product by f32 fused multiply-adds.
template <class S> struct Simt {
    typedef S Shape;
    f32 acc[S::GM * 4][S::GN * 4];

    // Sums over k of A (m × k where A_ALONG_K, else k × m) and B (n × k or k × n) at the tile that begins at (m0, n0).
    // What the columns of B sum to is given to `columns`, k by k.
    template <bool A_ALONG_K, bool B_ALONG_K, class A, class Columns>
    __device__ __forceinline__ void run(const A& a, const Matrix& b, u32 m0, u32 n0, u32 k, f32* shared,
                                        Columns& columns) {
#pragma unroll
        for (int i = 0; i < S::GM * 4; i++)
#pragma unroll
            for (int j = 0; j < S::GN * 4; j++) acc[i][j] = 0.0f;
        Loader<S, A, S::BM, S::PITCH_A, A_ALONG_K> left(a, m0);
        Loader<S, Matrix, S::BN, S::PITCH_B, B_ALONG_K> right(b, n0);
        Place<S> place;
        left.fetch(0), right.fetch(0);
        u32 turn = 0;
        for (u32 from = 0; from < k; from += S::BK) {
            f32 *as = shared + turn * S::STAGE, *bs = as + S::BK * S::PITCH_A;
            left.store(as), right.store(bs);
            __syncthreads();
            left.fetch(from + S::BK), right.fetch(from + S::BK);
#pragma unroll
            for (int kk = 0; kk < S::BK; kk++) step(as + kk * S::PITCH_A + place.row, bs + kk * S::PITCH_B + place.col);
            columns.add(bs);
            // The other turn's numbers were read before the barrier that has just been passed.
            turn ^= 1;
        }
        __syncthreads();
    }

    __device__ __forceinline__ void step(const f32* as, const f32* bs) {
        f32 a[S::GM * 4], b[S::GN * 4];
#pragma unroll
        for (int g = 0; g < S::GM; g++) *(float4*)(a + 4 * g) = *(const float4*)(as + g * (S::BM / S::GM));
#pragma unroll
        for (int g = 0; g < S::GN; g++) *(float4*)(b + 4 * g) = *(const float4*)(bs + g * (S::BN / S::GN));
#pragma unroll
        for (int i = 0; i < S::GM * 4; i++)
#pragma unroll
            for (int j = 0; j < S::GN * 4; j++) acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
    }

    // Puts part p of the tile, S::PART rows, into shared memory.
    __device__ __forceinline__ void stage(int p, f32* shared) {
        Place<S> place;
#pragma unroll
        for (int i = 0; i < S::GM * 4; i++) {
            if (i / 4 != p) continue;
            f32* to = shared + (place.row + i % 4) * S::PITCH_C + place.col;
#pragma unroll
            for (int g = 0; g < S::GN; g++)
                *(float4*)(to + g * (S::BN / S::GN)) =
                    make_float4(acc[i][4 * g], acc[i][4 * g + 1], acc[i][4 * g + 2], acc[i][4 * g + 3]);
        }
    }
};

// Does nothing with the columns of B.
struct NoColumns {
    enum { WANTED = 0 };
    __device__ __forceinline__ void add(const f32*) {}
    __device__ __forceinline__ void add_one(f32) {}
};

// The sum of each column of B, its rows in order; thread j has column j.
template <class S> struct ColumnSums {
    enum { WANTED = 1 };
    bool wanted = false;
    f32 sum = 0.0f;
    __device__ __forceinline__ void add_one(f32 x) {
        sum += x;
    }
    __device__ __forceinline__ void add(const f32* bs) {
        if (!wanted) return;
#pragma unroll
        for (int kk = 0; kk < S::BK; kk++) sum += bs[kk * S::PITCH_B + threadIdx.x];
    }
};
