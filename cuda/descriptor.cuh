// What kernels read about models, layers and steps: tables in device memory, written by src/backend/cuda/descriptor.rs.
//
// The same structs stand there with `#[repr(C)]`; the kernel `layout` reports the sizes and offsets of these, and a test
// compares. Pointers are 64-bit device addresses, 0 where there is nothing. Matrices are row-major and contiguous; a
// parameter arena lies in the order of the plan: W (inputs × outputs), then the bias, layer by layer.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// The number of an activation, as in kernels/src/activation.rs.
enum Activation { IDENTITY, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, TANH, SIGMOID, SOFTPLUS, MISH };
enum Loss { CROSS_ENTROPY, BINARY_CROSS_ENTROPY, MEAN_SQUARED, HUBER };
enum Optimizer { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, RMSPROP_MOMENTUM };

// Bits of Layer::flags.
enum { RESIDUAL = 1, FIRST = 2, LAST = 4, STEPPING = 8 };

// Elements of the arena that one block of norms, turn and update has; rows that one of gather, loss and link has; columns of
// the outputs that one of count has.
enum { CHUNK = 4096, ROWS = 64, COLUMNS = 8 };

// One model, for as long as it stays on the device.
struct Model {
    u64 features;       // the dataset's, rows × inputs
    u64 targets;        // u32 classes, or f32 rows × outputs; 0: none (evaluation)
    u64 class_weights;  // f32 one a class (cross-entropy) or a label's positives (binary), or 0
    u64 x0;             // f32 batch × inputs, where it is gathered before a step; else 0
    u64 outputs;        // y of the last layer, batch × outputs
    u64 row_losses;     // f32 one a row of the batch
    u64 row_hits;       // u32 one a row of the batch, of an evaluation: bit 0: its outputs are right; above: the class they say
    u64 weights;        // the arena
    u64 slots[2];       // the optimizer's state, in the order of the arena
    u64 gradient;       // the whole gradient in the order of the arena, where it is needed; else 0
    u64 partials;       // f64 one a chunk of the arena; of an evaluation that counts: four a column a step
    u64 direction;      // f32 arena: hypergradient descent's last direction, else 0
    u64 offset;         // f64 what hypergradient descent has added to the rate
    double beta;        // hypergradient descent's β; 0: none
    u64 parameters;     // length of the arena
    u32 bytes;          // 1: features are u8 and multiplied by scale; 0: f32
    float scale;
    u32 inputs, width;  // features of a row; outputs of a row
    u32 layers, first;  // number of layers; index of the first in the table
    u32 key[2];         // of dropout
    u32 input_threshold;  // input dropout: words below it drop; 0: none
    float input_scale;    // what is kept is multiplied by it
    u32 loss;
    float delta;        // Huber's
    float smoothing;    // cross-entropy's ε
    float weight_sum;   // Σ class weights, or the number of classes
    u32 optimizer;
    float constants[4]; // sgd: none; momentum, nesterov: momentum; adam(w): β₂, 1 − β₁, 1 − β₂, ε; rmsprop: α, 1 − α, ε, momentum
    float weight_decay; // into the gradient; 0 for adamw, whose decay is in Rate::shrink
    float l1;
    float clip_norm;    // 0: none
    u32 stride;         // of a model in shared memory: floats from a weight there to its first and to its second state
    u32 unused;
};

// One layer of one model.
struct Layer {
    u64 x;              // f32 rows × inputs; 0: the dataset's rows
    u64 y;              // f32 rows × outputs
    u64 z;              // f32 rows × outputs where the derivative needs it; else 0
    u64 dz;             // f32 rows × outputs; of the last layer: its y
    u64 dy;             // f32 rows × outputs: dL/dy kept for the skip connection around this layer; else 0
    u64 weights;        // W, then the bias
    u64 slots[2];       // the optimizer's state of them
    u64 gradient;       // where their gradient goes; 0: straight into the optimizer
    u32 inputs, outputs;
    u32 model;          // index in the table
    u32 activation;
    u32 threshold;      // dropout of y: words below it drop; 0: none
    float kept;         // what is kept is multiplied by it
    u32 purpose;        // the counter's last word
    u32 flags;
    u32 shared, pitch;  // of a model in shared memory: where W begins there, in floats, and floats from row to row; bias last
};

// What depends on a step alone. Computed in double on the host.
struct Rate {
    float rate;         // as given
    float shrink;       // adamw: 1 − rate·decay; else 1
    float corrected;    // adam(w): rate / (1 − β₁ᵗ); else rate
    float root;         // adam(w): 1 / √(1 − β₂ᵗ)
    float inverse;      // adam: 1 / (1 − β₁ᵗ); else 1
    float rest[3];      // unused
};

// The steps of one model in a round.
struct Run {
    u64 rows;           // u32 row numbers of all steps; 0: row tick·batch + r
    u64 rates;          // Rate one a step
    u64 losses;         // double one a step; of an evaluation two: the sum of row losses, how many rows are right
    u64 first_step;     // number of the first step over the whole training, from 0
    u32 row_count;      // length of rows
    u32 steps;
    u32 batch;          // rows a step; the last step takes what is left
    u32 unused;
};

// What a block does.
struct Tile {
    u32 subject;        // index of the layer or of the model
    u32 place;          // row tile · column tiles + column tile; or the block of rows, or the chunk
};

// The parameter of every kernel.
struct Tables {
    u64 models, layers, runs, tiles;
    u64 tick;           // u32: index of the step in the round
};

// Every struct, then its fields in order: what the kernel `layout` reports.
#define LAYOUT(SIZE, FIELD)                                                                                      \
    SIZE(Model) FIELD(Model, features) FIELD(Model, targets) FIELD(Model, class_weights) FIELD(Model, x0)        \
    FIELD(Model, outputs) FIELD(Model, row_losses) FIELD(Model, row_hits) FIELD(Model, weights) FIELD(Model, slots) \
    FIELD(Model, gradient) FIELD(Model, partials) FIELD(Model, direction) FIELD(Model, offset)                   \
    FIELD(Model, beta) FIELD(Model, parameters) FIELD(Model, bytes) FIELD(Model, scale) FIELD(Model, inputs)     \
    FIELD(Model, width) FIELD(Model, layers) FIELD(Model, first) FIELD(Model, key) FIELD(Model, input_threshold) \
    FIELD(Model, input_scale) FIELD(Model, loss) FIELD(Model, delta) FIELD(Model, smoothing)                     \
    FIELD(Model, weight_sum) FIELD(Model, optimizer) FIELD(Model, constants) FIELD(Model, weight_decay)          \
    FIELD(Model, l1) FIELD(Model, clip_norm) FIELD(Model, stride) FIELD(Model, unused)                           \
    SIZE(Layer) FIELD(Layer, x) FIELD(Layer, y) FIELD(Layer, z) FIELD(Layer, dz) FIELD(Layer, dy)                \
    FIELD(Layer, weights) FIELD(Layer, slots) FIELD(Layer, gradient) FIELD(Layer, inputs) FIELD(Layer, outputs)  \
    FIELD(Layer, model) FIELD(Layer, activation) FIELD(Layer, threshold) FIELD(Layer, kept)                      \
    FIELD(Layer, purpose) FIELD(Layer, flags) FIELD(Layer, shared) FIELD(Layer, pitch)                           \
    SIZE(Rate) FIELD(Rate, rate) FIELD(Rate, shrink) FIELD(Rate, corrected) FIELD(Rate, root)                    \
    FIELD(Rate, inverse) FIELD(Rate, rest)                                                                       \
    SIZE(Run) FIELD(Run, rows) FIELD(Run, rates) FIELD(Run, losses) FIELD(Run, first_step) FIELD(Run, row_count) \
    FIELD(Run, steps) FIELD(Run, batch) FIELD(Run, unused)                                                       \
    SIZE(Tile) FIELD(Tile, subject) FIELD(Tile, place)                                                           \
    SIZE(Tables) FIELD(Tables, models) FIELD(Tables, layers) FIELD(Tables, runs) FIELD(Tables, tiles)            \
    FIELD(Tables, tick)

