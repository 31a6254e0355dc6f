// Losses of a row by one warp, and the gradient written over the outputs; the formulas of kernels/src/loss.rs.
//
// With p = softmax(x), weights w (or 1) and smoothing ε the cross-entropy of a row is
// total·ln Σe^(x − m) − hard·(x[y] − m) − smooth·Σ w[c]·(x[c] − m), m being the largest logit, hard = (1 − ε)·w[y],
// smooth = ε/classes, total = hard + smooth·Σw; its gradient is total·p[c] − smooth·w[c] − hard·[c = y].
// A non-finite output gives a non-finite loss, even where the formula alone would not show it.
#pragma once
#include "math.cuh"

// What becomes of the outputs.
enum Outcome { GRADIENT, PROBABILITIES };

struct Objective {
    u32 loss, width;
    f32 delta, smoothing, weight_sum;
    const f32* weights;  // or 0
    f32 scale;           // of the gradient
};

DEVICE Objective objective_of(const Model& model, f32 scale) {
    Objective o;
    o.loss = model.loss, o.width = model.width, o.delta = model.delta, o.smoothing = model.smoothing;
    o.weight_sum = model.weight_sum, o.weights = model.class_weights ? global<const f32>(model.class_weights) : 0;
    o.scale = scale;
    return o;
}

// The row's loss (in every lane), and the gradient in x.
template <Outcome OUTCOME> DEVICE f32 cross_entropy_row(const Objective& o, f32* x, u32 label, bool labelled) {
    u32 lane = threadIdx.x % 32;
    f32 max = __int_as_float(0xff800000);
    for (u32 c = lane; c < o.width; c += 32) max = fmaxf(x[c], max);
    max = warp_max(max);
    f32 at_label = labelled ? x[label] - max : 0.0f;
    f32 hard = labelled ? (1.0f - o.smoothing) * (o.weights ? o.weights[label] : 1.0f) : 0.0f;
    f32 smooth = labelled ? o.smoothing / (f32)o.width : 0.0f;
    f32 total = labelled ? fmaf(smooth, o.weight_sum, hard) : 0.0f;
    __syncwarp();
    f32 sum = 0.0f, weighted = 0.0f;
    for (u32 c = lane; c < o.width; c += 32) {
        f32 d = x[c] - max;
        f32 e = fmaf(x[c], 0.0f, exponential(d));
        sum += e;
        if (smooth != 0.0f) weighted = fmaf(o.weights ? o.weights[c] : 1.0f, d, weighted);
        x[c] = e;
    }
    sum = warp_sum(sum), weighted = warp_sum(weighted);
    f32 of_e = OUTCOME == GRADIENT ? o.scale * total / sum : 1.0f / sum;
    for (u32 c = lane; c < o.width; c += 32) {
        f32 v = x[c] * of_e;
        if (OUTCOME == GRADIENT) {
            if (smooth != 0.0f) v = fmaf(o.weights ? o.weights[c] : 1.0f, -o.scale * smooth, v);
            if (c == label) v = v - o.scale * hard;
        }
        x[c] = v;
    }
    f32 rest = -hard * at_label;
    if (smooth != 0.0f) rest = rest - smooth * weighted;
    return fmaf(ln_1p(sum - 1.0f), total, rest);
}

// Loss and slope of one output.
DEVICE f32 pointwise(const Objective& o, f32 x, f32 t, u32 column, f32& slope) {
    if (o.loss == BINARY_CROSS_ENTROPY) {
        f32 positive = (o.weights ? o.weights[column] : 1.0f) * t, negative = 1.0f - t;
        f32 rest = softplus_of_minus_abs(x), up = positive_part(x) + rest, down = positive_part(-x) + rest;
        f32 sigma, one_less;
        sigmoids(x, sigma, one_less);
        slope = negative * sigma - positive * one_less;
        return fmaf(x, 0.0f, fmaf(positive, down, negative * up));
    }
    f32 d = x - t;
    if (o.loss == MEAN_SQUARED) {
        slope = d + d;
        return d * d;
    }
    f32 a = fabsf(d);
    slope = clamped(d, -o.delta, o.delta);
    return a <= o.delta ? 0.5f * (d * d) : o.delta * (a - 0.5f * o.delta);
}

template <Outcome OUTCOME> DEVICE f32 pointwise_row(const Objective& o, f32* x, const f32* targets) {
    f32 total = 0.0f;
    for (u32 c = threadIdx.x % 32; c < o.width; c += 32) {
        f32 v = x[c], slope = 0.0f;
        if (targets) total += pointwise(o, v, targets[c], c, slope);
        if (OUTCOME == GRADIENT) x[c] = slope * o.scale;
        else if (o.loss == BINARY_CROSS_ENTROPY) x[c] = logistic(v);
    }
    return warp_sum(total);
}

// One row: `target` is the row's number in the dataset.
template <Outcome OUTCOME> DEVICE f32 loss_of_row(const Objective& o, f32* x, u64 targets, u32 target) {
    if (o.loss == CROSS_ENTROPY) {
        u32 label = targets ? global<const u32>(targets)[target] : 0;
        return cross_entropy_row<OUTCOME>(o, x, label, targets != 0);
    }
    const f32* of_row = targets ? global<const f32>(targets) + (u64)target * o.width : 0;
    return pointwise_row<OUTCOME>(o, x, of_row);
}

// Bit 0: whether a row's outputs, which are probabilities by now, say what its target does: the class (the first of the
// largest), or every label; above it that class. Each lane looks at the columns that it has written.
DEVICE u32 right_row(const Objective& o, const f32* x, u64 targets, u32 target) {
    u32 lane = threadIdx.x % 32;
    if (!targets || o.loss > BINARY_CROSS_ENTROPY) return 0;
    if (o.loss == CROSS_ENTROPY) {
        f32 best = 0.0f;
        u32 place = ~0u;
        for (u32 c = lane; c < o.width; c += 32)
            if (place == ~0u || x[c] > best) best = x[c], place = c;
        for (int lanes = 16; lanes; lanes /= 2) {
            f32 other = __shfl_xor_sync(~0u, best, lanes);
            u32 there = __shfl_xor_sync(~0u, place, lanes);
            bool better = place == ~0u || other > best || (other == best && there < place);
            if (there != ~0u && better) best = other, place = there;
        }
        return place << 1 | (place == global<const u32>(targets)[target]);
    }
    const f32* wanted = global<const f32>(targets) + (u64)target * o.width;
    f32 wrong = 0.0f;
    for (u32 c = lane; c < o.width; c += 32) wrong += (x[c] > 0.5f) != (wanted[c] > 0.5f) ? 1.0f : 0.0f;
    return warp_sum(wrong) == 0.0f;
}

// What metrics are made of, of one column of the outputs; see the kernel `count`, and `Tally` in src/backend/mod.rs.
// Classes and labels: rows where it is said and true, said, true; the sum of −ln of what the truth's probability is, that of
// the class in the truth's column. Numbers: Σd², Σ|d|.
struct Column {
    f64 sums[4];
};

// −ln of a probability, none nearer to 0 than f32's ε and none nearer to 1.
DEVICE f64 surprise(f64 p) {
    const f64 least = 1.1920928955078125e-7;
    return -natural_log(p < least ? least : (1.0 - least < p ? 1.0 - least : p));
}

// Adds a row: `x` is the row's output in column c, `hit` what `right_row` says of it.
DEVICE void add_row(const Objective& o, Column& column, u32 c, const f32* x, u32 hit, u64 targets, u32 target) {
    if (o.loss == CROSS_ENTROPY) {
        bool said = hit >> 1 == c, is = global<const u32>(targets)[target] == c;
        column.sums[0] += said && is, column.sums[1] += said, column.sums[2] += is;
        if (is) column.sums[3] += surprise(*x);
        return;
    }
    f32 wanted = global<const f32>(targets)[(u64)target * o.width + c];
    if (o.loss == BINARY_CROSS_ENTROPY) {
        bool said = *x > 0.5f, is = wanted > 0.5f;
        column.sums[0] += said && is, column.sums[1] += said, column.sums[2] += is;
        column.sums[3] += surprise(is ? (f64)*x : 1.0 - (f64)*x);
        return;
    }
    f64 d = (f64)*x - (f64)wanted;
    column.sums[0] += d * d, column.sums[1] += fabs(d);
}

// What a batch's summed loss is multiplied by to be PyTorch's mean; every thread of the block takes part.
DEVICE f64 mean_scale(const Model& model, const Run& run, const At& at, f64* partial) {
    if (model.loss != CROSS_ENTROPY) return 1.0 / ((f64)at.rows * model.width);
    if (!model.class_weights) return 1.0 / at.rows;
    f64 sum = 0;
    for (u32 r = threadIdx.x; r < at.rows; r += blockDim.x)
        sum += global<const f32>(model.class_weights)[global<const u32>(model.targets)[number(run, at, r)]];
    return 1.0 / block_sum(sum, partial);
}
