// Kernels of the interpreter's own tests: f32 without tensor cores.
// nvcc -ptx -O3 -arch=compute_75 simt.cu -o simt.ptx   (13.0.88), then `.version 6.3`.

typedef unsigned int u32;
typedef unsigned long long u64;

extern "C" __global__ void __launch_bounds__(256) axpy(const float *x, float *y, float a, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

// C = A B, row-major, tiles of 32 x 32 with 8 x 32 threads, four rows a thread.
extern "C" __global__ void __launch_bounds__(256) gemm(const float *a, const float *b, float *c, int m, int n, int k) {
    __shared__ float ta[32][33], tb[32][33];
    int col = blockIdx.x * 32 + threadIdx.x, row0 = blockIdx.y * 32;
    float sum[4] = {0, 0, 0, 0};
    for (int k0 = 0; k0 < k; k0 += 32) {
        for (int i = 0; i < 4; ++i) {
            int r = threadIdx.y + 8 * i;
            ta[r][threadIdx.x] = row0 + r < m && k0 + threadIdx.x < k ? a[(row0 + r) * k + k0 + threadIdx.x] : 0;
            tb[r][threadIdx.x] = k0 + r < k && col < n ? b[(k0 + r) * n + col] : 0;
        }
        __syncthreads();
        for (int kk = 0; kk < 32; ++kk)
            for (int i = 0; i < 4; ++i) sum[i] += ta[threadIdx.y + 8 * i][kk] * tb[kk][threadIdx.x];
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i) {
        int r = row0 + threadIdx.y + 8 * i;
        if (r < m && col < n) c[r * n + col] = sum[i];
    }
}

__device__ float warp_sum(float x) {
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
    return x;
}

// out[row] = sum of the row; one block a row, any width.
extern "C" __global__ void row_sum(const float *x, float *out, int width) {
    __shared__ float part[32];
    float sum = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += x[blockIdx.x * width + i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < (blockDim.x + 31) / 32 ? part[threadIdx.x] : 0;
        sum = warp_sum(sum);
        if (threadIdx.x == 0) out[blockIdx.x] = sum;
    }
}

// In place: softmax of rows, one warp a row; losses by label.
extern "C" __global__ void softmax(float *logits, const u32 *labels, float *losses, int rows, int classes) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float *z = logits + (size_t)row * classes;
    float top = -__int_as_float(0x7f800000);
    for (int i = lane; i < classes; i += 32) top = fmaxf(top, z[i]);
    for (int d = 16; d; d >>= 1) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
    float sum = 0;
    for (int i = lane; i < classes; i += 32) sum += __expf(z[i] - top);
    sum = warp_sum(sum);
    u32 label = labels[row];
    if (lane == 0) losses[row] = __logf(sum) + top - z[label];
    __syncwarp();
    for (int i = lane; i < classes; i += 32) z[i] = __expf(z[i] - top) / sum - (i == label);
}

struct Key { u32 k0, k1; u64 step; };

__device__ void philox(u32 c[4], u32 k0, u32 k1) {
    for (int i = 0; i < 10; ++i) {
        u32 h0 = __umulhi(0xD2511F53u, c[0]), l0 = 0xD2511F53u * c[0];
        u32 h1 = __umulhi(0xCD9E8D57u, c[2]), l1 = 0xCD9E8D57u * c[2];
        c[0] = h1 ^ c[1] ^ k0; c[1] = l1; c[2] = h0 ^ c[3] ^ k1; c[3] = l0;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
}

// Four words a thread, stored as one vector.
extern "C" __global__ void random_words(uint4 *out, Key key, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 c[4] = {(u32)i, (u32)key.step, (u32)(key.step >> 32), 0};
    philox(c, key.k0, key.k1);
    out[i] = make_uint4(c[0], c[1], c[2], c[3]);
}

// AdamW over an arena; scalars from device memory.
extern "C" __global__ void adamw(float *w, const float *g, float *m, float *v, const float *rate, int step, int n) {
    float b1 = 0.9f, b2 = 0.999f, c1 = 1 - powf(b1, step), c2 = 1 - powf(b2, step), lr = *rate;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float mi = b1 * m[i] + (1 - b1) * g[i], vi = b2 * v[i] + (1 - b2) * g[i] * g[i];
        m[i] = mi; v[i] = vi;
        w[i] = w[i] * (1 - lr * 0.01f) - lr * (mi / c1) / (sqrtf(vi / c2) + 1e-8f);
    }
}

// gelu by erff, tanhf, expf, log1pf of libdevice.
extern "C" __global__ void curves(const float *x, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
    out[n + i] = tanhf(x[i]);
    out[2 * n + i] = expf(x[i]);
    out[3 * n + i] = log1pf(expf(x[i]));
    out[4 * n + i] = sinf(x[i]) + cosf(x[i]);
}

// A function that is not inlined, a switch, and an array that must live in local memory.
__noinline__ __device__ float horner(float x, int degree) {
    float sum = 0;
    for (int i = degree; i >= 0; --i) sum = sum * x + (i + 1);
    return sum;
}

extern "C" __global__ void oddities(const float *x, const int *kind, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float y = x[i], slots[8];
    for (int j = 0; j < 8; ++j) slots[j] = y * j;
    switch (kind[i]) {
        case 0: y = horner(y, 3); break;
        case 1: y = sqrtf(y); break;
        case 2: y = y > 1 ? y : -y; break;
        case 3: y = floorf(y); break;
        case 4: y = fabsf(y) + 1; break;
        case 5: y = 1 / y; break;
        case 6: y = rintf(y); break;
        case 7: y = horner(y, 5); break;
        default: y = slots[kind[i] & 7];
    }
    out[i] = y;
}

// One block a model that lives in shared memory for all its steps: w += x (y - w.x) / n.
extern "C" __global__ void persistent(const float *x, const float *y, float *w, int n, int width, int steps) {
    extern __shared__ float s[];
    float *weights = s, *error = s + width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) weights[j] = w[blockIdx.x * width + j];
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            float e = y[i];
            for (int j = 0; j < width; ++j) e -= weights[j] * x[i * width + j];
            error[i] = e;
        }
        __syncthreads();
        for (int j = threadIdx.x; j < width; j += blockDim.x) {
            float g = 0;
            for (int i = 0; i < n; ++i) g += error[i] * x[i * width + j];
            weights[j] += 0.1f * g / n;
        }
        __syncthreads();
    }
    for (int j = threadIdx.x; j < width; j += blockDim.x) w[blockIdx.x * width + j] = weights[j];
}

// The last block adds up what all blocks left: fence, ticket, sum.
extern "C" __global__ void last_block(const float *x, float *part, u32 *ticket, float *out, int n) {
    __shared__ bool last;
    float sum = 0;
    for (int i = blockIdx.x * 32 + threadIdx.x; i < n; i += gridDim.x * 32) sum += x[i];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(ticket, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float total = 0;
        for (int i = 0; i < gridDim.x; ++i) total += part[i];
        *out = total;
    }
}

extern "C" __global__ void widths(const unsigned char *bytes, const short *shorts, const double *d, long long *out, double *dd, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i] = (long long)shorts[i] * bytes[i] / 3 + (shorts[i] % 7) + __popc(bytes[i]) + (long long)(d[i] * 1e6);
    dd[i] = sqrt(d[i]) / 3 + fma(d[i], d[i], 1.0);
}
