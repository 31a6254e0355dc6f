// The module that runs on every GPU from sm_75 on: a step of training by f32 arithmetic.
//
// One launch does the same phase of all models of a cohort; a block finds its model through the tables (descriptor.cuh).
// The order of a step: gather, forward of each layer, loss, backward of each layer but the first, learn, then norms or turn
// and update where a model needs its whole gradient, finish, tick. Evaluation: forward of each layer, link, total, tick.
#include "epilogue.cuh"
#include "epoch.cuh"
#include "loss.cuh"

#define KERNEL extern "C" __global__ void

// The products, one kernel a tile shape. Two blocks of the large tile fit a multiprocessor at 128 registers a thread.
#define PRODUCTS(suffix, Shape, blocks)                                                                                \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) forward_##suffix(const __grid_constant__ Tables tables) {         \
        forward_tile<Simt<Shape>>(tables);                                                                             \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) backward_##suffix(const __grid_constant__ Tables tables) {        \
        backward_tile<Simt<Shape>>(tables);                                                                            \
    }                                                                                                                  \
    KERNEL __launch_bounds__(Shape::THREADS, blocks) learn_##suffix(const __grid_constant__ Tables tables) {           \
        learn_tile<Simt<Shape>>(tables);                                                                               \
    }

PRODUCTS(s, Small, 6)
PRODUCTS(l, Large, 2)
PRODUCTS(n, Narrow, 4)

// x0 = dropout(features of the batch's rows); a block has ROWS rows.
KERNEL __launch_bounds__(THREADS) gather(const __grid_constant__ Tables tables) {
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    u32 first = tile.place * ROWS;
    if (first >= at.rows) return;
    const Layer& layer = global<const Layer>(tables.layers)[model.first];
    gather_rows(model, layer, run, at, first, min((u32)ROWS, at.rows - first), global<f32>(model.x0), model.inputs);
}

// Row losses, and the outputs overwritten by scale · ∂loss/∂outputs; a warp a row, ROWS rows a block.
KERNEL __launch_bounds__(THREADS) loss(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    u32 first = tile.place * ROWS;
    if (first >= at.rows) return;
    Objective objective = objective_of(model, (f32)mean_scale(model, run, at, partial));
    f32 *outputs = global<f32>(model.outputs), *losses = global<f32>(model.row_losses);
    u32 end = min(at.rows, first + ROWS);
    for (u32 r = first + threadIdx.x / 32; r < end; r += THREADS / 32) {
        f32 value = loss_of_row<GRADIENT>(objective, outputs + (u64)r * model.width, model.targets, number(run, at, r));
        if (threadIdx.x % 32 == 0) losses[r] = value;
    }
}

// Evaluation: row losses and whether a row is right (0 without targets), and logits overwritten by probabilities.
KERNEL __launch_bounds__(THREADS) link(const __grid_constant__ Tables tables) {
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    u32 first = tile.place * ROWS;
    if (first >= at.rows) return;
    Objective objective = objective_of(model, 1.0f);
    f32* outputs = global<f32>(model.outputs) + (u64)at.first * model.width;
    f32* losses = global<f32>(model.row_losses);
    u32* hits = global<u32>(model.row_hits);
    u32 end = min(at.rows, first + ROWS);
    for (u32 r = first + threadIdx.x / 32; r < end; r += THREADS / 32) {
        f32* x = outputs + (u64)r * model.width;
        u32 target = number(run, at, r);
        f32 value = loss_of_row<PROBABILITIES>(objective, x, model.targets, target);
        u32 right = right_row(objective, x, model.targets, target);
        if (threadIdx.x % 32 == 0) losses[r] = value, hits[r] = right;
    }
}

// Sum of the row losses of the batch, in every thread.
DEVICE f64 sum_of_losses(const Model& model, const At& at, f64* partial) {
    f64 sum = 0;
    for (u32 r = threadIdx.x; r < at.rows; r += THREADS) sum += global<const f32>(model.row_losses)[r];
    return block_sum(sum, partial);
}

// Evaluation: the sum of the block's row losses, and how many of its rows are right.
KERNEL __launch_bounds__(THREADS) total(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    if (!at.rows) return;
    const Model& model = global<const Model>(tables.models)[tile.subject];
    f64 sum = sum_of_losses(model, at, partial), right = 0;
    for (u32 r = threadIdx.x; r < at.rows; r += THREADS) right += global<const u32>(model.row_hits)[r] & 1;
    right = block_sum(right, partial);
    if (threadIdx.x == 0) global<f64>(run.losses)[2 * at.tick] = sum, global<f64>(run.losses)[2 * at.tick + 1] = right;
}

// Evaluation, where metrics need more: what the block's rows come to in each column of the outputs; a warp a column.
KERNEL __launch_bounds__(THREADS) count(const __grid_constant__ Tables tables) {
    static_assert(COLUMNS * 32 == THREADS, "a warp a column");
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    u32 lane = threadIdx.x % 32, c = tile.place * COLUMNS + threadIdx.x / 32;
    if (!at.rows || c >= model.width) return;
    Objective objective = objective_of(model, 1.0f);
    const f32* outputs = global<const f32>(model.outputs) + (u64)at.first * model.width + c;
    Column column = {};
    for (u32 r = lane; r < at.rows; r += 32)
        add_row(objective, column, c, outputs + (u64)r * model.width, global<const u32>(model.row_hits)[r], model.targets,
                number(run, at, r));
    f64* sums = global<f64>(model.partials) + 4 * ((u64)at.tick * model.width + c);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        f64 sum = warp_sum(column.sums[i]);
        if (lane == i) sums[i] = sum;
    }
}

// Σg² of a chunk of the gradient.
KERNEL __launch_bounds__(THREADS) norms(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    if (!position(tables, global<const Run>(tables.runs)[tile.subject]).rows) return;
    u64 first = (u64)tile.place * CHUNK, end = min(first + CHUNK, model.parameters);
    f64 sum = 0;
    for (u64 i = first + threadIdx.x; i < end; i += THREADS) {
        f64 g = global<const f32>(model.gradient)[i];
        sum += g * g;
    }
    sum = block_sum(sum, partial);
    if (threadIdx.x == 0) global<f64>(model.partials)[tile.place] = sum;
}

// Hypergradient descent: the gradient of the whole objective takes the direction's place; the product of the two.
KERNEL __launch_bounds__(THREADS) turn(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    if (!at.rows) return;
    Rule rule = rule_of(model, global<const Rate>(run.rates)[at.tick]);
    f32* direction = global<f32>(model.direction);
    u64 first = (u64)tile.place * CHUNK, end = min(first + CHUNK, model.parameters);
    f64 sum = 0;
    for (u64 i = first + threadIdx.x; i < end; i += THREADS) {
        f32 whole = whole_gradient(rule, global<const f32>(model.weights)[i], global<const f32>(model.gradient)[i]);
        sum += (f64)whole * direction[i];
        direction[i] = whole;
    }
    sum = block_sum(sum, partial);
    if (threadIdx.x == 0) global<f64>(model.partials)[tile.place] = sum;
}

// The chunks' partial sums, added in a fixed order; in every thread.
DEVICE f64 sum_of_partials(const Model& model, f64* partial) {
    u64 chunks = (model.parameters + CHUNK - 1) / CHUNK;
    f64 sum = 0;
    for (u64 i = threadIdx.x; i < chunks; i += THREADS) sum += global<const f64>(model.partials)[i];
    return block_sum(sum, partial);
}

// The rate that hypergradient descent asks for, and what has then been added to the given one: never below 0.
DEVICE f32 adapted(const Model& model, const Rate& rate, f64 product, f64& offset) {
    offset = *global<const f64>(model.offset) + model.beta * product;
    f64 sum = (f64)rate.rate + offset;
    if (sum < 0.0) {
        offset = -(f64)rate.rate;
        return 0.0f;
    }
    return (f32)sum;
}

// The direction of the step that has just been made, from the gradient of the whole objective and the new state.
DEVICE f32 direction_of(const Rule& rule, f32 inverse, f32 d, f32 a, f32 b) {
    if (rule.optimizer == MOMENTUM) return a;
    if (rule.optimizer == NESTEROV) return fmaf(rule.constants[0], a, d);
    if (rule.optimizer == ADAM) return a * inverse / (sqrtf(b) * rule.root + rule.constants[3]);
    return d;
}

// The optimizer on a chunk of the arena, from the whole gradient: clipped to a norm, or with an adapted rate.
KERNEL __launch_bounds__(THREADS) update(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    if (!at.rows) return;
    const Rate& rate = global<const Rate>(run.rates)[at.tick];
    Rule rule = rule_of(model, rate);
    f64 sum = sum_of_partials(model, partial);
    bool adapts = model.beta != 0.0;
    if (adapts) {
        f64 offset;
        rule.rate = adapted(model, rate, sum, offset);
        rule.corrected = rule.rate * rate.inverse;
    } else if (model.clip_norm != 0.0f) {
        f64 scale = (f64)model.clip_norm / (sqrt(sum) + 1e-6);
        // A norm that is not a number leaves the gradient as it is, which shows in the weights.
        if (scale < 1.0) rule.scale = (f32)scale;
    }
    u32 slots = slots_of(rule);
    f32 *weights = global<f32>(model.weights), *direction = adapts ? global<f32>(model.direction) : 0;
    f32 *first_slot = slots > 0 ? global<f32>(model.slots[0]) : 0, *second = slots > 1 ? global<f32>(model.slots[1]) : 0;
    u64 first = (u64)tile.place * CHUNK, end = min(first + CHUNK, model.parameters);
    for (u64 i = first + threadIdx.x; i < end; i += THREADS) {
        f32 a = first_slot ? first_slot[i] : 0.0f, b = second ? second[i] : 0.0f;
        weights[i] = stepped(rule, weights[i], global<const f32>(model.gradient)[i], a, b);
        if (first_slot) first_slot[i] = a;
        if (second) second[i] = b;
        if (direction) direction[i] = direction_of(rule, rate.inverse, direction[i], a, b);
    }
}

// The step's mean loss, and what hypergradient descent has added to the rate.
KERNEL __launch_bounds__(THREADS) finish(const __grid_constant__ Tables tables) {
    __shared__ f64 partial[THREADS / 32];
    Tile tile = tile_of(tables);
    const Model& model = global<const Model>(tables.models)[tile.subject];
    const Run& run = global<const Run>(tables.runs)[tile.subject];
    At at = position(tables, run);
    if (!at.rows) return;
    f64 scale = mean_scale(model, run, at, partial);
    f64 sum = sum_of_losses(model, at, partial);
    if (threadIdx.x == 0) global<f64>(run.losses)[at.tick] = sum * scale;
    if (model.beta == 0.0) return;
    f64 product = sum_of_partials(model, partial), offset;
    // Who writes is the one who reads.
    if (threadIdx.x) return;
    adapted(model, global<const Rate>(run.rates)[at.tick], product, offset);
    *global<f64>(model.offset) = offset;
}

// All steps of the run of a model that fits one multiprocessor; it has no tick.
KERNEL __launch_bounds__(THREADS, 2) epoch(const __grid_constant__ Tables tables) {
    Tile tile = tile_of(tables);
    __shared__ Entries entries;
    if (threadIdx.x == 0) {
        entries.model = tables.models + tile.subject * sizeof(Model);
        entries.layers = tables.layers + global<const Model>(entries.model)->first * sizeof(Layer);
        entries.run = tables.runs + tile.subject * sizeof(Run);
    }
    __syncthreads();
    epoch_of(entries);
}

// The end of a step.
KERNEL __launch_bounds__(1) tick(const __grid_constant__ Tables tables) {
    *global<u32>(tables.tick) += 1;
}

#define OFFSET(type, field) (u32)(u64)&((type*)0)->field

// Sizes and offsets of the structs of descriptor.cuh as the compiler lays them out, into the u32s at `tick`.
KERNEL __launch_bounds__(1) layout(const __grid_constant__ Tables tables) {
    u32* out = global<u32>(tables.tick);
#define SIZE(type) *out++ = sizeof(type);
#define FIELD(type, field) *out++ = OFFSET(type, field);
    LAYOUT(SIZE, FIELD)
}
