// A whole run of steps of one model by one block: weights and moments stay in shared memory, nothing is launched between.
//
// For models that fit one multiprocessor. Where in shared memory what is comes from the host (src/backend/cuda/persistent.rs):
// in the tables of such a model an address below SHARED_ADDRESSES is an offset there, in bytes; buffers that do not fit stay in
// global memory, which is the L1 and L2 cache then. Rows in shared memory have an odd pitch, so that rows and columns alike are
// read without bank conflicts. The operations and their order are those of the other kernels: the bits are the same.
#pragma once
#include "dropout.cuh"
#include "activation.cuh"
#include "loss.cuh"
#include "optimizer.cuh"

enum { SHARED_ADDRESSES = 1 << 18 };

// A buffer of rows, wherever it is.
struct Buffer {
    f32* data;
    u32 pitch;
};

extern __shared__ f32 arena_memory[];

DEVICE Buffer buffer(u64 address, u32 width) {
    Buffer b;
    bool inside = address < SHARED_ADDRESSES;
    b.data = inside ? arena_memory + address / 4 : global<f32>(address);
    b.pitch = inside ? width | 1 : width;
    return b;
}

// Element (i, j) is data[i·down + j·right].
struct Grid {
    const f32* data;
    u32 down, right;
};

DEVICE Grid grid(const f32* data, u32 down, u32 right) {
    Grid g;
    g.data = data, g.down = down, g.right = right;
    return g;
}

// A thread's ROWS × 4 patch of A·B from row i and column j on: rows follow one another, columns are 16 apart. Rows and
// columns beyond m × n are computed as the last ones.
template <int ROWS>
DEVICE void patch(f32 (&acc)[ROWS][4], const Grid& a, const Grid& b, u32 i, u32 j, u32 m, u32 n, u32 k) {
    const f32 *left[ROWS], *right[4];
#pragma unroll
    for (int r = 0; r < ROWS; r++) left[r] = a.data + min(i + r, m - 1) * a.down;
#pragma unroll
    for (int w = 0; w < 4; w++) right[w] = b.data + min(j + 16 * w, n - 1) * b.right;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int w = 0; w < 4; w++) acc[r][w] = 0.0f;
#pragma unroll 2
    for (u32 p = 0; p < k; p++) {
        f32 x[ROWS], y[4];
#pragma unroll
        for (int r = 0; r < ROWS; r++) x[r] = left[r][p * a.right];
#pragma unroll
        for (int w = 0; w < 4; w++) y[w] = right[w][p * b.down];
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int w = 0; w < 4; w++) acc[r][w] = fmaf(x[r], y[w], acc[r][w]);
    }
}

// All patches of A·B (m × n over k), 16 threads side by side; each(acc, i, j, rows, words) has what lies inside.
template <int ROWS, class Each> DEVICE void panels(const Grid& a, const Grid& b, u32 m, u32 n, u32 k, Each each) {
    u32 lane = threadIdx.x % 16, groups = (n + 63) / 64, patches = groups * ((m + ROWS - 1) / ROWS);
    for (u32 t = threadIdx.x / 16; t < patches; t += THREADS / 16) {
        u32 i = t / groups * ROWS, j = t % groups * 64 + lane;
        f32 acc[ROWS][4];
        patch(acc, a, b, i, j, m, n, k);
        if (j < n) each(acc, i, j, min((u32)ROWS, m - i), min(4u, (n - j + 15) / 16));
    }
}

// What a patch leaves in memory, to be gone over by the same thread with one copy of the code for all elements.
template <int ROWS> DEVICE void put(const f32 (&acc)[ROWS][4], const Buffer& to, u32 i, u32 j, u32 rows, u32 words) {
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int w = 0; w < 4; w++)
            if (r < rows && w < words) to.data[(i + r) * to.pitch + j + 16 * w] = acc[r][w];
}

// y = dropout(act(x·W + b)) (+ x)
DEVICE void forward_all(const Model& model, const Layer& layer, const At& at) {
    u32 n = layer.outputs, k = layer.inputs;
    Buffer x = buffer(layer.x, k), y = buffer(layer.y, n), z = buffer(layer.z, n);
    const f32 *weights = arena_memory + layer.shared, *bias = weights + k * layer.pitch;
    // Bits: z is kept; x is added.
    u32 which = layer.activation, cases = (layer.z != 0) | (layer.flags & RESIDUAL ? 2 : 0);
    Mask mask = mask_of(model, at, layer);
    Grid a = grid(x.data, x.pitch, 1), b = grid(weights, layer.pitch, 1);
    panels<8>(a, b, at.rows, n, k, [&](const f32 (&acc)[8][4], u32 i, u32 j, u32 rows, u32 words) {
        put(acc, y, i, j, rows, words);
#pragma unroll 1
        for (u32 r = i; r < i + rows; r++) {
            u32 bits = kept_bits(mask, r, j / 64, j % 16);
#pragma unroll 1
            for (u32 w = 0; w < words; w++) {
                u32 col = j + 16 * w, activation = opaque(which), todo = opaque(cases);
                f32* out = y.data + r * y.pitch + col;
                *out = layer_of(*out + bias[col], activation, factor(mask, bits, w),
                                todo & 1 ? z.data + r * z.pitch + col : 0, todo & 2 ? x.data + r * x.pitch + col : 0);
            }
        }
    });
}

// dL/dx = dz·Wᵀ (+ dL/dy around a skip connection), and from it dL/dz of the layer before.
DEVICE void backward_all(const Model& model, const Layer& layer, const At& at) {
    const Layer& before = *(&layer - 1);
    u32 n = layer.inputs, k = layer.outputs;
    Buffer dz = buffer(layer.dz, k), out = buffer(before.dz, n), x = buffer(layer.x, n), z = buffer(before.z, n);
    Buffer skipped = buffer(layer.dy, n), dy = buffer(before.dy, n);
    // Bits: dL/dy of this layer is added; that of the one before is kept; its slope is taken at z; or read off its output.
    u32 which = before.activation, cases = (layer.flags & RESIDUAL ? 1 : 0) | (before.flags & RESIDUAL ? 2 : 0);
    cases |= before.z ? 4 : which == RELU ? 8 : 0;
    Mask mask = mask_of(model, at, before);
    if (cases & 8) mask.threshold = 0;
    Grid a = grid(dz.data, dz.pitch, 1), b = grid(arena_memory + layer.shared, 1, layer.pitch);
    panels<8>(a, b, at.rows, n, k, [&](const f32 (&acc)[8][4], u32 i, u32 j, u32 rows, u32 words) {
        put(acc, out, i, j, rows, words);
#pragma unroll 1
        for (u32 r = i; r < i + rows; r++) {
            u32 bits = kept_bits(mask, r, j / 64, j % 16);
#pragma unroll 1
            for (u32 w = 0; w < words; w++) {
                u32 col = j + 16 * w, activation = opaque(which), todo = opaque(cases);
                f32 value = out.data[r * out.pitch + col];
                if (todo & 1) value = value + skipped.data[r * skipped.pitch + col];
                if (todo & 2) dy.data[r * dy.pitch + col] = value;
                f32 kept = factor(mask, bits, w);
                if (todo & 8) kept = x.data[r * x.pitch + col] <= 0.0f ? 0.0f : kept;
                value = value * kept;
                if (todo & 4) value = value * slope_at(activation, z.data[r * z.pitch + col]);
                out.data[r * out.pitch + col] = value;
            }
        }
    });
}

// The optimizer on one weight in shared memory.
DEVICE void step_shared(Rule rule, u32 slots, u32 stride, f32* w, f32 g) {
    rule.optimizer = opaque(rule.optimizer), slots = opaque(slots);
    f32 a = slots > 0 ? w[stride] : 0.0f, b = slots > 1 ? w[2 * stride] : 0.0f;
    *w = stepped(rule, *w, g, a, b);
    if (slots > 0) w[stride] = a;
    if (slots > 1) w[2 * stride] = b;
}

// dW = xᵀ·dz and db, into the optimizer.
DEVICE void learn_all(const Model& model, const Layer& layer, const At& at, const Rule& rule) {
    u32 m = layer.inputs, n = layer.outputs, slots = slots_of(rule), stride = model.stride, pitch = layer.pitch;
    Buffer x = buffer(layer.x, m), dz = buffer(layer.dz, n);
    f32* weights = arena_memory + layer.shared;
    Grid a = grid(x.data, 1, x.pitch), b = grid(dz.data, dz.pitch, 1);
    panels<4>(a, b, m, n, at.rows, [&](const f32 (&acc)[4][4], u32 i, u32 j, u32 rows, u32 words) {
        // One copy of the optimizer for 16 registers: a select each.
#pragma unroll 1
        for (u32 e = 0; e < 16; e++) {
            f32 g = 0.0f;
#pragma unroll
            for (int other = 0; other < 16; other++) g = e == other ? acc[other / 4][other % 4] : g;
            if (e / 4 < rows && e % 4 < words)
                step_shared(rule, slots, stride, weights + (i + e / 4) * pitch + j + 16 * (e % 4), g);
        }
    });
    for (u32 j = threadIdx.x; j < n; j += THREADS) {
        f32 sum = 0.0f;
#pragma unroll 4
        for (u32 r = 0; r < at.rows; r++) sum += dz.data[r * dz.pitch + j];
        step_shared(rule, slots, stride, weights + m * pitch + j, sum);
    }
}

// Copies a model's weights and state into shared memory, or back.
DEVICE void move_arena(const Model& model, const Layer* layers, u32 slots, u32 back) {
    for (u32 l = 0; l < model.layers; l++) {
        const Layer& layer = layers[l];
        u32 n = layer.outputs, count = (layer.inputs + 1) * n;
        for (u32 s = 0; s <= slots; s++) {
            back = opaque(back);
            f32* outside = global<f32>(s ? layer.slots[s - 1] : layer.weights);
            f32* inside = arena_memory + layer.shared + s * model.stride;
            for (u32 i = threadIdx.x; i < count; i += THREADS) {
                // The bias is the row after the last one of W.
                f32* at = inside + i / n * layer.pitch + i % n;
                if (back) outside[i] = *at;
                else *at = outside[i];
            }
        }
    }
}

// The entries of a model in the tables.
struct Entries {
    u64 model, layers, run;
};

// One step. Entries are read anew: what the compiler knows to stay the same it would write a step for each case of.
DEVICE void step_of(const Entries& entries, u32 tick, f64* partial) {
    const Model& model = *global<const Model>(opaque(entries.model));
    const Layer* layers = global<const Layer>(opaque(entries.layers));
    const Run& run = *global<const Run>(opaque(entries.run));
    At at = position(run, tick);
    u32 last = model.layers - 1;
    Buffer x0 = buffer(model.x0, model.inputs);
    gather_rows(model, layers[0], run, at, 0, at.rows, x0.data, x0.pitch);
    __syncthreads();
    for (u32 l = 0; l <= last; l++) {
        forward_all(model, *global<const Layer>(opaque((u64)(layers + l))), at);
        __syncthreads();
    }
    Buffer outputs = buffer(model.outputs, model.width), losses = buffer(model.row_losses, 1);
    f64 scale = mean_scale(model, run, at, partial);
    Objective objective = objective_of(model, (f32)scale);
    for (u32 r = threadIdx.x / 32; r < at.rows; r += THREADS / 32) {
        f32* x = outputs.data + r * outputs.pitch;
        f32 value = loss_of_row<GRADIENT>(objective, x, model.targets, number(run, at, r));
        if (threadIdx.x % 32 == 0) losses.data[r] = value;
    }
    __syncthreads();
    f64 sum = 0;
    for (u32 r = threadIdx.x; r < at.rows; r += THREADS) sum += losses.data[r];
    sum = block_sum(sum, partial);
    if (threadIdx.x == 0) global<f64>(run.losses)[tick] = sum * scale;
    for (u32 l = last;; l--) {
        const Layer& layer = *global<const Layer>(opaque((u64)(layers + l)));
        if (l) backward_all(*global<const Model>(opaque(entries.model)), layer, at);
        __syncthreads();
        learn_all(model, layer, at, rule_of(model, global<const Rate>(global<const Run>(opaque(entries.run))->rates)[tick]));
        __syncthreads();
        if (!l) break;
    }
}

// All steps of a model's run.
DEVICE void epoch_of(const Entries& entries) {
    __shared__ f64 partial[THREADS / 32];
    const Model& model = *global<const Model>(entries.model);
    const Layer* layers = global<const Layer>(entries.layers);
    const Run& run = *global<const Run>(entries.run);
    Rate none = {};
    u32 slots = slots_of(rule_of(model, none)), steps = run.steps;
    move_arena(model, layers, slots, 0);
    __syncthreads();
    for (u32 tick = 0; tick < steps; tick++) step_of(entries, tick, partial);
    move_arena(model, layers, slots, 1);
}
