// The three products of a layer with what becomes of their elements: forward, backward, learn.
//
// Each is a block's work on one tile: find the model and the place in its matrices, make the product (a template, so that
// every inner product has the same epilogues), then walk over the finished tile part by part. In forward and backward a
// thread has columns 16 apart, which share a Philox block; in learn it has four neighbours, so that weight and moments
// are read and written once, as vectors.
#pragma once
#include "activation.cuh"
#include "dropout.cuh"
#include "optimizer.cuh"
#include "tile.cuh"

// What a block works on. It stands in shared memory, since the product needs the registers.
template <class A> struct Work {
    At at;
    u32 layer, model;
    u32 m0, n0, k;
    A a;
    Matrix b;
};

// Sets all but the operands: the block's tile of a matrix of that width. One thread calls it.
template <class S, class A> DEVICE void begin(Work<A>& work, const Tables& tables, u32 Layer::*width) {
    Tile tile = tile_of(tables);
    const Layer& layer = global<const Layer>(tables.layers)[tile.subject];
    u32 across = (layer.*width + S::BN - 1) / S::BN;
    work.layer = tile.subject, work.model = layer.model;
    work.m0 = tile.place / across * S::BM, work.n0 = tile.place % across * S::BN;
    work.at = position(tables, global<const Run>(tables.runs)[work.model]);
}

// Where element (r, c) of a part of the finished tile stands.
template <class S> DEVICE u32 spot(u32 r, u32 c) {
    return r * S::PITCH_C + (S::TURNED ? c ^ r / 2 % 2 * 4 : c);
}

// Calls each(row, col, value) for the elements of the finished tile that lie in m × n, with the bits of their mask drawn
// once for every four of them.
template <class P, class Each>
DEVICE void walk(P& product, f32* shared, u32 m0, u32 n0, u32 m, u32 n, const Mask& mask, Each each) {
    typedef typename P::Shape S;
    enum { GROUPS = S::BN / (16 * S::WORDS) };
#pragma unroll 1
    for (int p = 0; p < S::GM; p++) {
        if (p) __syncthreads();
        product.stage(p, shared);
        __syncthreads();
        for (u32 e = threadIdx.x; e < S::PART * GROUPS * 16; e += S::THREADS) {
            u32 lane = e % 16, r = e / 16 % S::PART, group = e / 16 / S::PART;
            u32 row = m0 + p * S::PART + r, first = group * 16 * S::WORDS + lane;
            if (row >= m || n0 + first >= n) continue;
            u32 bits = kept_bits(mask, row, (n0 + first) / 64, lane) >> ((n0 + first) / 16 & 3);
#pragma unroll 1
            for (u32 w = 0; w < S::WORDS && n0 + first + 16 * w < n; w++)
                each(row, n0 + first + 16 * w, shared[spot<S>(r, first + 16 * w)], factor(mask, bits, w));
        }
    }
}

// y = dropout(act(x·W + b)) (+ x); z kept where it is wanted.
template <class P> DEVICE void forward_tile(const Tables& tables) {
    typedef typename P::Shape S;
    __shared__ float4 memory[S::SHARED / 4];
    __shared__ Work<Rows> work;
    f32* shared = (f32*)memory;
    if (threadIdx.x == 0) {
        begin<S>(work, tables, &Layer::outputs);
        const Layer& layer = global<const Layer>(tables.layers)[work.layer];
        work.a = input_of(global<const Model>(tables.models)[work.model], layer,
                          global<const Run>(tables.runs)[work.model], work.at);
        work.b = matrix(layer.weights, layer.inputs, layer.outputs), work.k = layer.inputs;
    }
    __syncthreads();
    if (work.m0 >= work.at.rows) return;
    P product;
    NoColumns none;
    product.template run<true, false>(work.a, work.b, work.m0, work.n0, work.k, shared, none);
    const At& at = work.at;
    const Layer& layer = global<const Layer>(tables.layers)[work.layer];
    const Model& model = global<const Model>(tables.models)[work.model];
    u32 n = layer.outputs;
    u64 ahead = layer.flags & STEPPING ? (u64)at.first * n : 0;
    f32 *y = global<f32>(layer.y) + ahead, *z = layer.z ? global<f32>(layer.z) : 0;
    const f32* bias = global<const f32>(layer.weights) + (u64)layer.inputs * n;
    const f32* x = layer.flags & RESIDUAL ? global<const f32>(layer.x) : 0;
    u32 activation = layer.activation;
    Mask mask = mask_of(model, at, layer);
    walk(product, shared, work.m0, work.n0, at.rows, n, mask, [=](u32 row, u32 col, f32 value, f32 kept) {
        u64 i = (u64)row * n + col;
        y[i] = layer_of(value + bias[col], activation, kept, z ? z + i : 0, x ? x + i : 0);
    });
}

// dL/dx = dz·Wᵀ (+ dL/dy around a skip connection), and from it dL/dz of the layer before.
template <class P> DEVICE void backward_tile(const Tables& tables) {
    typedef typename P::Shape S;
    __shared__ float4 memory[S::SHARED / 4];
    __shared__ Work<Matrix> work;
    f32* shared = (f32*)memory;
    if (threadIdx.x == 0) {
        begin<S>(work, tables, &Layer::inputs);
        const Layer& layer = global<const Layer>(tables.layers)[work.layer];
        work.a = matrix(layer.dz, work.at.rows, layer.outputs);
        work.b = matrix(layer.weights, layer.inputs, layer.outputs), work.k = layer.outputs;
    }
    __syncthreads();
    if (work.m0 >= work.at.rows) return;
    P product;
    NoColumns none;
    product.template run<true, true>(work.a, work.b, work.m0, work.n0, work.k, shared, none);
    const At& at = work.at;
    const Layer& layer = global<const Layer>(tables.layers)[work.layer];
    const Model& model = global<const Model>(tables.models)[work.model];
    const Layer& before = *(&layer - 1);
    u32 n = layer.inputs;
    const f32* skipped = layer.flags & RESIDUAL ? global<const f32>(layer.dy) : 0;
    f32* dy = before.flags & RESIDUAL ? global<f32>(before.dy) : 0;
    f32* dz = global<f32>(before.dz);
    const f32* z = before.z ? global<const f32>(before.z) : 0;
    const f32* x = global<const f32>(layer.x);
    u32 activation = before.activation;
    bool by_output = !z && activation == RELU;
    Mask mask = mask_of(model, at, before);
    if (by_output) mask.threshold = 0;  // What dropout has dropped is 0 and lets nothing through: no need to draw.
    walk(product, shared, work.m0, work.n0, at.rows, n, mask, [=](u32 row, u32 col, f32 value, f32 kept) {
        u64 i = (u64)row * n + col;
        if (skipped) value = value + skipped[i];
        if (dy) dy[i] = value;
        if (by_output) kept = x[i] <= 0.0f ? 0.0f : kept;
        value = value * kept;
        if (z) value = value * slope_at(activation, z[i]);
        dz[i] = value;
    });
}

// Where a layer's weights, state and gradient are, element by element in the order of the arena.
struct Arena {
    f32 *weights, *slots[2], *gradient;  // gradient: 0 where the optimizer takes it at once
    bool vectors;

    __device__ __forceinline__ Arena(const Layer& layer, u32 slots_used) {
        weights = global<f32>(layer.weights);
        slots[0] = slots_used > 0 ? global<f32>(layer.slots[0]) : 0;
        slots[1] = slots_used > 1 ? global<f32>(layer.slots[1]) : 0;
        gradient = layer.gradient ? global<f32>(layer.gradient) : 0;
        u64 all = gradient ? layer.gradient
                           : layer.weights | (slots_used > 0 ? layer.slots[0] : 0) | (slots_used > 1 ? layer.slots[1] : 0);
        vectors = layer.outputs % 4 == 0 && all % 16 == 0;
    }

    // One element.
    __device__ __forceinline__ void take(const Rule& rule, u64 i, f32 g) const {
        if (gradient) {
            gradient[i] = g;
            return;
        }
        f32 a = slots[0] ? slots[0][i] : 0.0f, b = slots[1] ? slots[1][i] : 0.0f;
        weights[i] = stepped(rule, weights[i], g, a, b);
        if (slots[0]) slots[0][i] = a;
        if (slots[1]) slots[1][i] = b;
    }

    // Four neighbours, aligned.
    __device__ __forceinline__ void take(const Rule& rule, u64 i, float4 g) const {
        if (gradient) {
            *(float4*)(gradient + i) = g;
            return;
        }
        float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        float4 w = *(const float4*)(weights + i);
        float4 a = slots[0] ? *(const float4*)(slots[0] + i) : none;
        float4 b = slots[1] ? *(const float4*)(slots[1] + i) : none;
        w.x = stepped(rule, w.x, g.x, a.x, b.x), w.y = stepped(rule, w.y, g.y, a.y, b.y);
        w.z = stepped(rule, w.z, g.z, a.z, b.z), w.w = stepped(rule, w.w, g.w, a.w, b.w);
        *(float4*)(weights + i) = w;
        if (slots[0]) *(float4*)(slots[0] + i) = a;
        if (slots[1]) *(float4*)(slots[1] + i) = b;
    }
};

// dW = xᵀ·dz and, in the tiles of the first row, db; each at once into the optimizer, or into the gradient.
template <class P> DEVICE void learn_tile(const Tables& tables) {
    typedef typename P::Shape S;
    __shared__ float4 memory[S::SHARED / 4];
    __shared__ Work<Rows> work;
    f32* shared = (f32*)memory;
    if (threadIdx.x == 0) {
        begin<S>(work, tables, &Layer::outputs);
        const Layer& layer = global<const Layer>(tables.layers)[work.layer];
        work.a = input_of(global<const Model>(tables.models)[work.model], layer,
                          global<const Run>(tables.runs)[work.model], work.at);
        work.b = matrix(layer.dz, work.at.rows, layer.outputs), work.k = work.at.rows;
    }
    __syncthreads();
    if (!work.at.rows) return;
    P product;
    ColumnSums<S> columns;
    columns.wanted = work.m0 == 0 && threadIdx.x < S::BN;
    product.template run<false, false>(work.a, work.b, work.m0, work.n0, work.k, shared, columns);
    const At& at = work.at;
    const Layer& layer = global<const Layer>(tables.layers)[work.layer];
    const Model& model = global<const Model>(tables.models)[work.model];
    u32 m = layer.inputs, n = layer.outputs, m0 = work.m0, n0 = work.n0;
    Rule rule = rule_of(model, global<const Rate>(global<const Run>(tables.runs)[work.model].rates)[at.tick]);
    Arena arena(layer, slots_of(rule));
#pragma unroll 1
    for (int p = 0; p < S::GM; p++) {
        if (p) __syncthreads();
        product.stage(p, shared);
        __syncthreads();
        for (u32 e = threadIdx.x; e < S::PART * S::BN / 4; e += S::THREADS) {
            u32 r = e / (S::BN / 4), c = e % (S::BN / 4) * 4, row = m0 + p * S::PART + r, col = n0 + c;
            if (row >= m || col >= n) continue;
            u64 i = (u64)row * n + col;
            const f32* g = shared + spot<S>(r, c);
            if (arena.vectors) {
                arena.take(rule, i, *(const float4*)g);
            } else {
#pragma unroll 1
                for (u32 j = 0; j < 4 && col + j < n; j++) arena.take(rule, i + j, g[j]);
            }
        }
    }
    if (columns.wanted && n0 + threadIdx.x < n) arena.take(rule, (u64)m * n + n0 + threadIdx.x, columns.sum);
}
