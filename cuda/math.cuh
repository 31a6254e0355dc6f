// Elementary functions: those of kernels/src/math.rs with the same operations in the same order, so the same bits.
//
// The coefficients and the bounds of the errors stand there. NaN goes through: a comparison with it is false, so clamps
// are written as selections, not as minima.
#pragma once
#include "common.cuh"

DEVICE f32 clamped(f32 x, f32 low, f32 high) {
    return x < low ? low : (high < x ? high : x);
}

template <int N> DEVICE f32 polynomial(f32 x, const f32 (&c)[N]) {
    f32 sum = c[N - 1];
#pragma unroll
    for (int i = N - 2; i >= 0; i--) sum = fmaf(sum, x, c[i]);
    return sum;
}

// a · 2ⁿ for whole n with |n| ≤ 252, rounded once.
DEVICE f32 scale2(f32 a, f32 n) {
    f32 half = rintf(n * 0.5f);
    f32 low = __int_as_float((__float2int_rn(half) + 127) << 23);
    f32 high = __int_as_float((__float2int_rn(n - half) + 127) << 23);
    return a * low * high;
}

// n and p = eʳ − 1 with x + low = n·ln 2 + r.
DEVICE f32 reduce_exp(f32 x, f32 low, f32& n) {
    const f32 c[5] = {0.49999994f, 0.16666521f, 0.04166829f, 0.008368704f, 0.0013818939f};
    n = rintf(x * 1.44269504f);
    f32 r = fmaf(n, -0.69314575f, x);
    r = fmaf(n, -1.4286068e-6f, r);
    r = r + low;
    return fmaf(r * r, polynomial(r, c), r);
}

DEVICE f32 exp_of_sum(f32 x, f32 low) {
    f32 n, p = reduce_exp(clamped(x, -104.0f, 89.0f), low, n);
    return scale2(p + 1.0f, n);
}

DEVICE f32 exponential(f32 x) {
    return exp_of_sum(x, 0.0f);
}

// eˣ − 1
DEVICE f32 exp_m1(f32 x) {
    f32 n, p = reduce_exp(clamped(x, -20.0f, 89.0f), 0.0f, n);
    f32 half = scale2(0.5f, n);
    f32 y = fmaf(half, p, half - 0.5f);
    return fabsf(x) < 1e-8f ? x : y + y;
}

// ln(1 + f) for 1 + f between √½ and √2.
DEVICE f32 ln_1p_core(f32 f) {
    const f32 c[8] = {0.3333333f,  -0.25000826f, 0.20001249f, -0.16623189f,
                      0.14201222f, -0.13161534f, 0.1276587f,  -0.076358005f};
    return fmaf(f * f, fmaf(f, polynomial(f, c), -0.5f), f);
}

// ln(1 + x) for x ≥ 0.
DEVICE f32 ln_1p(f32 x) {
    u32 e = (__float_as_uint(x + 1.0f) - 0x3f3504f3u) & 0xff800000u;
    f32 scaled = __uint_as_float(__float_as_uint(x) - e);
    f32 four = __uint_as_float(0x40800000u - e);
    f32 f = scaled + fmaf(0.25f, four, -1.0f);
    f32 k = (f32)((int)e >> 23);
    f32 y = fmaf(k, 0.69314575f, fmaf(k, 1.4286068e-6f, ln_1p_core(f)));
    y = x == 0.0f ? x : y;
    return x < __int_as_float(0x7f800000) ? y : x;
}

// ln(x) of a normal number: k·ln 2 + 2·artanh(f / (2 + f)) with x = 2ᵏ·(1 + f), 1 + f between √½ and √2.
DEVICE f64 natural_log(f64 x) {
    const f64 c[9] = {1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19};
    long long k = (__double_as_longlong(x) - 0x3fe6a09e667f3bcdll) >> 52;
    f64 f = __longlong_as_double(__double_as_longlong(x) - (k << 52)) - 1.0, s = f / (2.0 + f), z = s * s, sum = c[8];
#pragma unroll
    for (int i = 7; i >= 0; i--) sum = sum * z + c[i];
    return (f64)(int)k * 0.6931471805599453 + (s + s + (s + s) * (z * sum));
}

// ln(1 + e^−|x|)
DEVICE f32 softplus_of_minus_abs(f32 x) {
    f32 e = exponential(-fabsf(x));
    bool upper = 0.41421354f < e;
    f32 y = ln_1p_core(upper ? fmaf(e, 0.5f, -0.5f) : e);
    return upper ? y + 0.6931472f : y;
}

DEVICE f32 hyperbolic_tangent(f32 x) {
    f32 a = fabsf(x);
    a = 10.0f < a ? 10.0f : a;
    f32 t = exp_m1(a + a);
    return copysignf(t / (t + 2.0f), x);
}

// σ(x) and σ(−x).
DEVICE void sigmoids(f32 x, f32& up, f32& down) {
    f32 e = exponential(-fabsf(x)), d = 1.0f + e;
    f32 near = 1.0f / d, far = e / d;
    up = x < 0.0f ? far : near;
    down = x < 0.0f ? near : far;
}

DEVICE f32 logistic(f32 x) {
    f32 e = exponential(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// max(x, 0), and what is not a number stays.
DEVICE f32 positive_part(f32 x) {
    return x <= 0.0f ? 0.0f : x;
}

DEVICE f32 softplus(f32 x) {
    return positive_part(x) + softplus_of_minus_abs(x);
}

// Φ(−|z|) of the standard normal; g = e^(−z²/2).
DEVICE f32 normal_tail(f32 z, f32& g) {
    const f32 c[11] = {0.19948025f,  0.19918542f, 0.15336384f,  0.022766389f, 0.0538799f,  -0.40763184f,
                       0.35106274f, 0.09359629f, -0.31543514f, 0.18908176f,  -0.03934961f};
    f32 a = fabsf(z);
    a = 14.6f < a ? 14.6f : a;
    f32 head = __uint_as_float(__float_as_uint(a) & 0xfffff000u);
    f32 rest = (a - head) * (a + head);
    g = exp_of_sum(head * head * -0.5f, rest * -0.5f);
    f32 t = 2.0f / (2.0f + a);
    return g * (t * polynomial(t, c));
}
