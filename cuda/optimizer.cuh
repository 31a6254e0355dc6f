// The update rules: how one weight changes by its gradient and state, as kernels/src/optimizer.rs has it.
//
// What depends on the step alone comes from the host (Rate). State that has become subnormal is kept as 0.
#pragma once
#include "common.cuh"

struct Rule {
    u32 optimizer;
    f32 constants[4];
    f32 weight_decay, l1;
    f32 scale;  // multiplies the gradient before all else: less than 1 where it is clipped
    f32 rate, shrink, corrected, root;
};

DEVICE Rule rule_of(const Model& model, const Rate& rate) {
    Rule r;
    r.optimizer = model.optimizer;
#pragma unroll
    for (int i = 0; i < 4; i++) r.constants[i] = model.constants[i];
    r.weight_decay = model.weight_decay, r.l1 = model.l1, r.scale = 1.0f;
    r.rate = rate.rate, r.shrink = rate.shrink, r.corrected = rate.corrected, r.root = rate.root;
    return r;
}

// Vectors of state that a rule keeps.
DEVICE u32 slots_of(const Rule& r) {
    return r.optimizer == SGD ? 0 : r.optimizer == ADAM || r.optimizer == ADAMW || r.optimizer == RMSPROP_MOMENTUM ? 2 : 1;
}

DEVICE f32 flushed(f32 x) {
    return fabsf(x) < 1.17549435e-38f ? 0.0f : x;
}

DEVICE f32 signed_unit(f32 w, f32 unit) {
    return w == 0.0f ? 0.0f : copysignf(unit, w);
}

// The gradient of the whole objective.
DEVICE f32 whole_gradient(const Rule& r, f32 w, f32 g) {
    g = g * r.scale;
    if (r.weight_decay != 0.0f) g = fmaf(w, r.weight_decay, g);
    if (r.l1 != 0.0f) g = g + signed_unit(w, r.l1);
    return g;
}

// The new weight; a and b are the state.
DEVICE f32 stepped(const Rule& r, f32 w, f32 g, f32& a, f32& b) {
    g = whole_gradient(r, w, g);
    const f32* c = r.constants;
    if (r.optimizer == ADAM || r.optimizer == ADAMW) {
        f32 m = fmaf(g - a, c[1], a);
        f32 v = fmaf(g * g, c[2], b * c[0]);
        f32 d = fmaf(sqrtf(v), r.root, c[3]);
        w = fmaf(m / d, -r.corrected, w * r.shrink);
        a = flushed(m), b = flushed(v);
    } else if (r.optimizer == SGD) {
        w = fmaf(g, -r.rate, w);
    } else if (r.optimizer == MOMENTUM || r.optimizer == NESTEROV) {
        f32 v = fmaf(a, c[0], g);
        w = fmaf(r.optimizer == NESTEROV ? fmaf(v, c[0], g) : v, -r.rate, w);
        a = flushed(v);
    } else {
        f32 v = fmaf(g * g, c[1], a * c[0]);
        f32 d = g / (sqrtf(v) + c[2]);
        if (r.optimizer == RMSPROP_MOMENTUM) {
            d = fmaf(b, c[3], d);
            b = flushed(d);
        }
        w = fmaf(d, -r.rate, w);
        a = flushed(v);
    }
    return w;
}
