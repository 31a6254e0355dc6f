// The activations and their derivatives, one row each: name as in descriptor.cuh, value at z, slope at z.
//
// The formulas and their forms are those of kernels/src/activation.rs.
#pragma once
#include "math.cuh"

DEVICE f32 normal_cdf(f32 z, f32& g) {
    f32 tail = normal_tail(z, g);
    return z < 0.0f ? tail : 1.0f - tail;
}

DEVICE f32 gelu(f32 z) {
    f32 g;
    return z * normal_cdf(z, g);
}

DEVICE f32 gelu_slope(f32 z) {
    f32 g, cdf = normal_cdf(z, g), a = fabsf(z);
    // Both factors finite: beyond 20 the product is 0, whatever z is.
    a = 20.0f < a ? 20.0f : a;
    return cdf + copysignf(a * 0.3989423f * g, z);
}

DEVICE f32 silu_slope(f32 z) {
    f32 up, down;
    sigmoids(z, up, down);
    return up * fmaf(z, down, 1.0f);
}

DEVICE f32 tanh_slope(f32 z) {
    f32 u = exponential(fabsf(z) * -2.0f), d = u + 1.0f;
    return u * 4.0f / (d * d);
}

DEVICE f32 sigmoid_slope(f32 z) {
    f32 u = exponential(-fabsf(z)), d = u + 1.0f;
    return u / (d * d);
}

// n = e·(e + 2) with e = e^z, so that tanh(softplus(z)) = n / (n + 2).
DEVICE f32 mish_parts(f32& z, f32& e) {
    z = clamped(z, -110.0f, 20.0f);
    e = exponential(z);
    return e * (e + 2.0f);
}

DEVICE f32 mish(f32 z) {
    f32 low = z, e, n = mish_parts(low, e);
    return z * (n / (n + 2.0f));
}

DEVICE f32 mish_slope(f32 z) {
    f32 e, n = mish_parts(z, e), d = n + 2.0f;
    return fmaf(n, d, z * 4.0f * fmaf(e, e, e)) / (d * d);
}

#define ACTIVATIONS(ROW)                                                                                               \
    ROW(IDENTITY, z, 1.0f)                                                                                             \
    ROW(RELU, z <= 0.0f ? 0.0f : z, z <= 0.0f ? 0.0f : 1.0f)                                                           \
    ROW(LEAKY_RELU, z <= 0.0f ? z * 0.01f : z, z <= 0.0f ? 0.01f : 1.0f)                                               \
    ROW(ELU, 0.0f < z ? z : exp_m1(z), 0.0f < z ? 1.0f : exponential(z))                                               \
    ROW(SELU, 0.0f < z ? z * 1.050701f : exp_m1(z) * 1.7580994f, 0.0f < z ? 1.050701f : exponential(z) * 1.7580994f)   \
    ROW(GELU, gelu(z), gelu_slope(z))                                                                                  \
    ROW(SILU, z * logistic(z), silu_slope(z))                                                                          \
    ROW(TANH, hyperbolic_tangent(z), tanh_slope(z))                                                                    \
    ROW(SIGMOID, logistic(z), sigmoid_slope(z))                                                                        \
    ROW(SOFTPLUS, softplus(z), logistic(z))                                                                            \
    ROW(MISH, mish(z), mish_slope(z))

DEVICE f32 activate(u32 activation, f32 z) {
    switch (activation) {
#define ROW(name, value, slope) \
    case name: return value;
        ACTIVATIONS(ROW)
#undef ROW
    }
    return z;
}

DEVICE f32 slope_at(u32 activation, f32 z) {
    switch (activation) {
#define ROW(name, value, slope) \
    case name: return slope;
        ACTIVATIONS(ROW)
#undef ROW
    }
    return 1.0f;
}

// What a layer makes of an element of x·W + b: dropout(act(z)) (+ x); `z`, where that is kept, and `x` may be 0.
DEVICE f32 layer_of(f32 value, u32 activation, f32 kept, f32* z, const f32* x) {
    if (z) *z = value;
    value = activate(activation, value) * kept;
    return x ? value + *x : value;
}
