//! Fragments of `mma.sync` and `ldmatrix`, one lane at a time as the PTX manual describes them, against naive products.
//!
//! The manual says which element a lane's register holds; the interpreter is written the other way round, from the
//! element to the register.

mod common;

use common::{Arg, Bench, noise};
use hpt_ptxsim::Options;

/// Element (row, column) of A's register half `i` of a lane.
fn of_a(kind: &str, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    match (kind, k) {
        ("tf32", _) => (group + 8 * (i % 2), thread + 4 * (i / 2)),
        (_, 8) => (if i < 2 { group } else { group + 8 }, 2 * thread + i % 2),
        _ => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, 2 * thread + i % 2 + if i >= 4 { 8 } else { 0 })
        }
    }
}

fn of_b(kind: &str, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    match kind {
        "tf32" => (thread + 4 * i, group),
        _ => (2 * thread + i % 2 + if i >= 2 { 8 } else { 0 }, group),
    }
}

fn of_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + if i >= 2 { 8 } else { 0 }, 2 * (lane % 4) + i % 2)
}

fn f16_bits(x: f32) -> u32 {
    // Exact for the small whole numbers used here.
    let bits = x.to_bits();
    if x == 0.0 { 0 } else { bits >> 16 & 0x8000 | ((bits >> 23 & 255) - 112) << 10 | bits >> 13 & 1023 }
}

fn f16_value(bits: u32) -> f32 {
    let magnitude =
        if bits & 0x7fff == 0 { 0.0 } else { f32::from_bits(((bits >> 10 & 31) + 112) << 23 | (bits & 1023) << 13) };
    if bits & 0x8000 != 0 { -magnitude } else { magnitude }
}

/// One product of small whole numbers, so that every order of sums is exact; `half` accumulates in f16.
fn product(kind: &str, k: usize, half: bool) {
    let whole = |seed, count| -> Vec<f32> { noise(seed, count).into_iter().map(|x| (x * 4.0).round()).collect() };
    let (a, b, c) = (whole(1, 16 * k), whole(2, k * 8), whole(3, 128));
    let bits = |x: f32| match kind {
        "tf32" => x.to_bits(),
        "bf16" => x.to_bits() >> 16,
        _ => f16_bits(x),
    };
    let each = if kind == "tf32" { 1 } else { 2 };
    let (na, nb, nc) = (16 * k / 32 / each, 8 * k / 32 / each, if half { 2 } else { 4 });
    let mut input = vec![0u32; 32 * (na + nb + nc)];
    for lane in 0..32 {
        let row = &mut input[lane * (na + nb + nc)..][..na + nb + nc];
        for i in 0..na * each {
            let (r, q) = of_a(kind, k, lane, i);
            row[i / each] |= bits(a[r * k + q]) << (16 * (i % each));
        }
        for i in 0..nb * each {
            let (r, q) = of_b(kind, lane, i);
            row[na + i / each] |= bits(b[r * 8 + q]) << (16 * (i % each));
        }
        for i in 0..4 {
            let (r, q) = of_c(lane, i);
            let value = c[r * 8 + q];
            if half {
                row[na + nb + i / 2] |= f16_bits(value) << (16 * (i % 2));
            } else {
                row[na + nb + i] = value.to_bits();
            }
        }
    }
    let list = |prefix: &str, from: usize, count: usize| {
        (from..from + count).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ")
    };
    let loads: String = (0..na + nb + nc).map(|i| format!("ld.global.b32 %r{i}, [%rd2+{}];\n", 4 * i)).collect();
    let stores: String = (0..nc).map(|i| format!("st.global.b32 [%rd4+{}], %r{};\n", 4 * i, 40 + i)).collect();
    let sum = if half { "f16" } else { "f32" };
    let text = format!(
        ".version 7.0\n.target sm_80\n.visible .entry k(.param .u64 p, .param .u64 q) {{
        .reg .b32 %r<60>; .reg .b64 %rd<9>;
        ld.param.u64 %rd1, [p]; ld.param.u64 %rd3, [q]; mov.u32 %r50, %laneid;
        mad.wide.u32 %rd2, %r50, {}, %rd1; mad.wide.u32 %rd4, %r50, {}, %rd3;
        {loads}
        mma.sync.aligned.m16n8k{k}.row.col.{sum}.{kind}.{kind}.{sum} {{{}}}, {{{}}}, {{{}}}, {{{}}};
        {stores} ret; }}",
        4 * (na + nb + nc),
        4 * nc,
        list("%r", 40, nc),
        list("%r", 0, na),
        list("%r", na, nb),
        list("%r", na + nb, nc),
    );
    let mut bench = Bench::new(&text, Options::default());
    let (p, q) = (bench.words(&input), bench.machine.alloc(128 * nc));
    bench.launch("k", [1, 1, 1], [32, 1, 1], &[Arg::Pointer(p), Arg::Pointer(q)]).unwrap();
    let out = bench.read_words(q, 32 * nc);
    for lane in 0..32 {
        for i in 0..4 {
            let (r, q) = of_c(lane, i);
            let expected = (0..k).map(|at| a[r * k + at] * b[at * 8 + q]).sum::<f32>() + c[r * 8 + q];
            let got = if half {
                f16_value(out[lane * 2 + i / 2] >> (16 * (i % 2)) & 0xffff)
            } else {
                f32::from_bits(out[lane * 4 + i])
            };
            assert_eq!(got, expected, "{kind} k{k} lane {lane} element {i}");
        }
    }
}

#[test]
fn fragments_of_all_shapes() {
    for (kind, k) in [("bf16", 8), ("bf16", 16), ("f16", 8), ("f16", 16), ("tf32", 4), ("tf32", 8)] {
        product(kind, k, false);
    }
    product("f16", 8, true);
    product("f16", 16, true);
}

#[test]
fn matrices_from_shared_memory() {
    for (count, transposed) in [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)] {
        let registers = (0..count).map(|i| format!("%r{}", 10 + i)).collect::<Vec<_>>().join(", ");
        let stores: String = (0..count).map(|i| format!("st.global.b32 [%rd4+{}], %r{};\n", 128 * i, 10 + i)).collect();
        let trans = if transposed { ".trans" } else { "" };
        // Element e of row r of matrix m is 64m + 8r + e; rows stand 48 bytes apart, and lane 8m + r gives their
        // address.
        let text = format!(
            ".version 7.0\n.target sm_80\n.visible .entry k(.param .u64 q) {{
            .reg .b16 %rs<9>; .reg .b32 %r<60>; .reg .b64 %rd<9>; .reg .pred %p<4>;
            .shared .align 16 .b8 s[1536];
            ld.param.u64 %rd3, [q]; mov.u32 %r1, %laneid; mad.wide.u32 %rd4, %r1, 4, %rd3;
            mov.u32 %r2, s; mad.lo.u32 %r3, %r1, 48, %r2; shl.b32 %r4, %r1, 3; mov.u32 %r5, 0;
            L: cvt.u16.u32 %rs1, %r4; st.shared.u16 [%r3], %rs1; add.u32 %r3, %r3, 2; add.u32 %r4, %r4, 1;
            add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 8; @%p1 bra L;
            bar.warp.sync 0xffffffff;
            mad.lo.u32 %r3, %r1, 48, %r2;
            ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r3];
            {stores} ret; }}"
        );
        let mut bench = Bench::new(&text, Options::default());
        let q = bench.machine.alloc(128 * count);
        let counters = bench.launch("k", [1, 1, 1], [32, 1, 1], &[Arg::Pointer(q)]).unwrap();
        let out = bench.read_words(q, 32 * count);
        for m in 0..count {
            for lane in 0..32 {
                let element = |half: usize| {
                    let (row, column) = (lane / 4, 2 * (lane % 4) + half);
                    let (row, column) = if transposed { (column, row) } else { (row, column) };
                    (64 * m + 8 * row + column) as u32
                };
                assert_eq!(out[32 * m + lane], element(0) | element(1) << 16, "x{count}{trans} matrix {m} lane {lane}");
            }
        }
        assert!(counters.shared_requests > 0);
    }
}

#[test]
fn banks_in_conflict_are_counted() {
    // A stride of s words between lanes takes gcd(s, 32) passes.
    let conflicts = |stride: u32, width: u32| {
        let value = if width == 4 { "{%r4, %r4, %r4, %r4}" } else { "%r4" };
        let vector = if width == 4 { "v4." } else { "" };
        let text = format!(
            ".version 7.0\n.target sm_80\n.visible .entry k() {{ .reg .b32 %r<9>; .shared .align 16 .b8 s[8192];
            mov.u32 %r1, %tid.x; mov.u32 %r2, s; mad.lo.u32 %r3, %r1, {}, %r2; mov.u32 %r4, 1;
            st.shared.{vector}b32 [%r3], {value}; ret; }}",
            4 * stride
        );
        let mut bench = Bench::new(&text, Options::default());
        bench.launch("k", [1, 1, 1], [32, 1, 1], &[]).unwrap().shared_conflicts
    };
    assert_eq!([1, 2, 3, 4, 8, 16, 32, 33].map(|stride| conflicts(stride, 1)), [0, 1, 0, 3, 7, 15, 31, 0]);
    // Vectors of 16 bytes go eight lanes at a time: four groups of them.
    assert_eq!([4, 8, 12, 32, 36].map(|stride| conflicts(stride, 4)), [0, 4, 0, 28, 0]);
}
