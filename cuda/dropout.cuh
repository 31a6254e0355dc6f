// Dropout masks by Philox4x32-10, the bits of kernels/src/dropout.rs and philox.rs.
//
// Columns go in groups of 64 and a group is 16 Philox blocks; word w of block j belongs to column 64·group + 16·w + j. So
// a thread that has columns 16 apart draws one block for four of them.
#pragma once
#include "common.cuh"

struct Mask {
    u32 key[2];
    u32 step[2];    // low word; high word, below 2¹⁶
    u32 purpose;
    u32 threshold;  // words below it drop; 0: nothing drops
    f32 kept;       // what is kept is multiplied by it
    u32 groups;     // of a row
};

DEVICE Mask mask_of(const Model& model, const At& at, u32 purpose, u32 threshold, f32 kept, u32 width) {
    Mask m;
    m.key[0] = model.key[0], m.key[1] = model.key[1];
    m.step[0] = (u32)at.step, m.step[1] = (u32)(at.step >> 32) & 0xffff;
    m.purpose = purpose, m.threshold = threshold, m.kept = threshold ? kept : 1.0f, m.groups = (width + 63) / 64;
    return m;
}

DEVICE Mask mask_of(const Model& model, const At& at, const Layer& layer) {
    return mask_of(model, at, layer.purpose, layer.threshold, layer.kept, layer.outputs);
}

// Bit w: whether column 64·group + 16·w + j of that row is kept, j being `lane`.
DEVICE u32 kept_bits(const Mask& m, u32 row, u32 group, u32 lane) {
    if (!m.threshold) return 15;
    u64 block = 16 * ((u64)row * m.groups + group);
    u32 a = (u32)block + lane, b = m.step[0], c = m.step[1] | (u32)(block >> 32) << 16, d = m.purpose;
#pragma unroll
    for (u32 round = 0; round < 10; round++) {
        u32 k0 = m.key[0] + 0x9E3779B9u * round, k1 = m.key[1] + 0xBB67AE85u * round;
        u64 p = (u64)0xD2511F53u * a, q = (u64)0xCD9E8D57u * c;
        a = (u32)(q >> 32) ^ b ^ k0, b = (u32)q, c = (u32)(p >> 32) ^ d ^ k1, d = (u32)p;
    }
    return (a >= m.threshold) | (b >= m.threshold) << 1 | (c >= m.threshold) << 2 | (d >= m.threshold) << 3;
}

// What an element is multiplied by.
DEVICE f32 factor(const Mask& m, u32 bits, u32 word) {
    return bits >> word & 1 ? m.kept : 0.0f;
}

// x = dropout(features) for some rows of the batch by a whole block; from row to row of x are `pitch` floats, and `layer` is
// the model's first.
DEVICE void gather_rows(const Model& model, const Layer& layer, const Run& run, const At& at, u32 first, u32 rows, f32* x,
                        u32 pitch) {
    Mask mask = mask_of(model, at, layer.purpose - 1, model.input_threshold, model.input_scale, model.inputs);
    for (u32 e = threadIdx.x; e < rows * mask.groups * 16; e += THREADS) {
        u32 lane = e % 16, group = e / 16 % mask.groups, row = first + e / 16 / mask.groups;
        u64 from = (u64)number(run, at, row) * model.inputs, to = (u64)row * pitch;
        u32 bits = kept_bits(mask, row, group, lane);
        for (u32 w = 0; w < 4; w++) {
            u32 col = 64 * group + 16 * w + lane;
            if (col >= model.inputs) break;
            f32 v = model.bytes ? (f32)global<const u8>(model.features)[from + col] * model.scale
                                : global<const f32>(model.features)[from + col];
            x[to + col] = v * factor(mask, bits, w);
        }
    }
}
