// Kernels of the interpreter's own tests: tensor cores, ldmatrix, cp.async.
// nvcc -ptx -O3 -arch=compute_80 mma80.cu -o mma80.ptx   (13.0.88), then `.version 7.0`.

typedef unsigned int u32;
typedef unsigned short u16;

__device__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

__device__ void copy16(void *to, const void *from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
__device__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int OPEN> __device__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(OPEN)); }

__device__ void load4(u32 *r, const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)));
}
__device__ void load2_transposed(u32 *r, const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(p)));
}
__device__ void mma_bf16(float *d, const u32 *a, const u32 *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ void mma_tf32(float *d, const u32 *a, const u32 *b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// C (m x n) = A (m x k) B (k x n), bf16 row-major, k and n multiples of 8; tiles 64 x 32 x 32, 4 warps, two stages.
template <int FAULT> __device__ void product(const u16 *a, const u16 *b, float *c, int m, int n, int k) {
    __shared__ __align__(16) u16 ta[2][64][40], tb[2][32][40];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row0 = blockIdx.y * 64, col0 = blockIdx.x * 32;
    float d[4][4] = {};
    auto fetch = [&](int stage, int k0) {
        for (int i = threadIdx.x; i < 256; i += 128) {
            int r = i / 4, q = 8 * (i % 4);
            bool in = row0 + r < m && k0 + q < k;
            copy16(&ta[stage][r][q], in ? a + (row0 + r) * k + k0 + q : a, in ? 16 : 0);
        }
        int r = threadIdx.x / 4, q = 8 * (threadIdx.x % 4);
        bool in = k0 + r < k && col0 + q < n;
        copy16(&tb[stage][r][q], in ? b + (k0 + r) * n + col0 + q : b, in ? 16 : 0);
        commit();
    };
    fetch(0, 0);
    int stages = (k + 31) / 32;
    for (int s = 0; s < stages; ++s) {
        if (s + 1 < stages) fetch((s + 1) & 1, 32 * (s + 1)); else commit();
        if (FAULT != 1) wait<1>();
        if (FAULT != 2) __syncthreads();
        for (int kk = 0; kk < 32; kk += 16) {
            u32 fa[4];
            load4(fa, &ta[s & 1][16 * warp + lane % 16][kk + 8 * (lane / 16)]);
            for (int j = 0; j < 4; ++j) {
                u32 fb[2];
                load2_transposed(fb, &tb[s & 1][kk + lane % 16][8 * j]);
                if (FAULT == 4) { u32 t = fb[0]; fb[0] = fb[1]; fb[1] = t; }
                mma_bf16(d[j], fa, fb);
            }
        }
        if (FAULT != 3) __syncthreads();
    }
    for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 4; ++i) {
            int r = row0 + 16 * warp + lane / 4 + 8 * (i / 2), q = col0 + 8 * j + 2 * (lane % 4) + i % 2;
            if (r < m && q < n) c[r * n + q] = d[j][i];
        }
}

extern "C" __global__ void __launch_bounds__(128) gemm_bf16(const u16 *a, const u16 *b, float *c, int m, int n, int k) { product<0>(a, b, c, m, n, k); }
extern "C" __global__ void no_wait(const u16 *a, const u16 *b, float *c, int m, int n, int k) { product<1>(a, b, c, m, n, k); }
extern "C" __global__ void no_barrier(const u16 *a, const u16 *b, float *c, int m, int n, int k) { product<2>(a, b, c, m, n, k); }
extern "C" __global__ void early_refill(const u16 *a, const u16 *b, float *c, int m, int n, int k) { product<3>(a, b, c, m, n, k); }
extern "C" __global__ void swapped(const u16 *a, const u16 *b, float *c, int m, int n, int k) { product<4>(a, b, c, m, n, k); }

// One tile of 16 x 8 x 8 by each lane's own loads; rounded to tf32 first or not.
extern "C" __global__ void tile_tf32(const float *a, const float *b, float *c, int rounded) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    float x[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4]};
    float y[2] = {b[t * 8 + g], b[(t + 4) * 8 + g]};
    u32 fa[4], fb[2];
    for (int i = 0; i < 4; ++i) {
        u32 r;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x[i]));
        fa[i] = rounded ? r : __float_as_uint(x[i]);
    }
    for (int i = 0; i < 2; ++i) {
        u32 r;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(y[i]));
        fb[i] = rounded ? r : __float_as_uint(y[i]);
    }
    float d[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
    mma_tf32(d, fa, fb);
    c[g * 8 + 2 * t] = d[0]; c[g * 8 + 2 * t + 1] = d[1]; c[(g + 8) * 8 + 2 * t] = d[2]; c[(g + 8) * 8 + 2 * t + 1] = d[3];
}

// f32 pairs to bf16 pairs and back, with stochastic rounding beside it.
extern "C" __global__ void pack(const float2 *x, u32 *out, float2 *back, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(x[i].y), "f"(x[i].x));
    out[i] = r;
    back[i] = make_float2(__uint_as_float(r << 16), __uint_as_float(r & 0xffff0000u));
}

// Integer reductions of a warp.
extern "C" __global__ void warp_integers(const u32 *x, u32 *out) {
    u32 v = x[threadIdx.x];
    u32 s = __reduce_add_sync(~0u, v), m = __reduce_max_sync(~0u, v);
    u32 b = __ballot_sync(~0u, v & 1), q = __match_any_sync(~0u, v % 3);
    u32 up = __shfl_up_sync(~0u, v, 3), down = __shfl_down_sync(~0u, v, 5, 16), at = __shfl_sync(~0u, v, v, 8);
    u32 all = __all_sync(~0u, v < 1000), any = __any_sync(~0u, v > 60), odd = __syncthreads_count(v & 1);
    u32 values[10] = {s, m, b, q, up, down, at, all, any, odd};
    for (int i = 0; i < 10; ++i) out[32 * i + threadIdx.x] = values[i];
}
