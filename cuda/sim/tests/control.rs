//! Ways through a kernel: branches, tables, calls, scopes, spaces, and what several threads do with one machine.

mod common;

use common::Arg::{Pointer, U32};
use common::Bench;
use hpt_ptxsim::{Counters, Kernel, Machine, Module, Options};

/// Runs a body for `threads` threads with an input and an output word each (`%r1`, `%r9`), other functions before it.
fn run(functions: &str, body: &str, input: &[u32]) -> (Vec<u32>, Counters) {
    let text = format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n{functions}\n.visible .entry k(.param .u64 p, .param .u64 q, .param .u32 n) {{
        .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<30>; .reg .b64 %rd<20>;
        ld.param.u64 %rd1, [p]; ld.param.u64 %rd2, [q]; mov.u32 %r2, %tid.x;
        mad.wide.u32 %rd3, %r2, 4, %rd1; mad.wide.u32 %rd4, %r2, 4, %rd2;
        ld.global.u32 %r1, [%rd3];
        {body}
        OUT: st.global.u32 [%rd4], %r9; ret; }}"
    );
    let mut bench = Bench::new(&text, Options { seed: 5, ..Options::default() });
    let (p, q) = (bench.words(input), bench.machine.alloc(4 * input.len()));
    let counters = bench
        .launch("k", [1, 1, 1], [input.len() as u32, 1, 1], &[Pointer(p), Pointer(q), U32(input.len() as u32)])
        .unwrap();
    (bench.read_words(q, input.len()), counters)
}

fn numbers(count: u32) -> Vec<u32> {
    (0..count).map(|i| i * 7 % 23).collect()
}

#[test]
fn tables_of_labels() {
    let body = "rem.u32 %r3, %r1, 4;
        T: .branchtargets A, B, C, B;
        brx.idx %r3, T;
        A: mov.u32 %r9, 100; bra OUT;
        B: add.u32 %r9, %r1, 200; bra OUT;
        C: mov.u32 %r9, 300;";
    let input = numbers(70);
    let expected = input.iter().map(|x| [100, x + 200, 300, x + 200][*x as usize % 4]).collect::<Vec<_>>();
    let (got, counters) = run("", body, &input);
    assert_eq!(got, expected);
    assert!(counters.divergences >= 3);
}

#[test]
fn lanes_meet_again_behind_loops_of_different_lengths() {
    // Each lane counts to its own number, then all 32 add up.
    let body = "mov.u32 %r3, 0;
        L: setp.ge.u32 %p1, %r3, %r1; @%p1 bra DONE; add.u32 %r3, %r3, 1; bra L;
        DONE: mov.u32 %r9, %r3; mov.u32 %r4, 16;
        S: shfl.sync.bfly.b32 %r5, %r9, %r4, 31, 0xffffffff; add.u32 %r9, %r9, %r5;
        shr.u32 %r4, %r4, 1; setp.ne.u32 %p2, %r4, 0; @%p2 bra S;";
    let input = numbers(64);
    let (got, _) = run("", body, &input);
    for (half, warp) in got.chunks(32).zip(input.chunks(32)) {
        assert_eq!(half, [warp.iter().sum::<u32>(); 32]);
    }
}

#[test]
fn calls_pass_values_and_nest() {
    let functions = ".func (.param .b32 r) twice(.param .b32 x) { .reg .b32 %r<5>;
        ld.param.b32 %r1, [x]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }
        .func (.param .b32 r) odd_or_four(.param .b32 x, .param .align 4 .b8 y[8]) { .reg .b32 %r<9>; .reg .pred %p<2>;
        ld.param.b32 %r1, [x]; ld.param.b32 %r2, [y+4]; and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 1;
        @%p1 bra ODD;
        { .param .b32 a; .param .b32 b; st.param.b32 [a], %r1; call.uni (b), twice, (a); ld.param.b32 %r4, [b]; }
        { .param .b32 a; .param .b32 b; st.param.b32 [a], %r4; call.uni (b), twice, (a); ld.param.b32 %r4, [b]; }
        add.u32 %r4, %r4, %r2; st.param.b32 [r], %r4; ret;
        ODD: st.param.b32 [r], %r1; ret; }";
    let body = "{ .param .b32 a; .param .align 4 .b8 c[8]; .param .b32 b; .reg .b32 %r1; // hides the outer one
        ld.global.u32 %r1, [%rd3];
        st.param.b32 [a], %r1; st.param.b32 [c+4], 1000;
        call.uni (b), odd_or_four, (a, c); ld.param.b32 %r9, [b]; }
        setp.gt.u32 %p1, %r1, 15; { .param .b32 a; .param .b32 b; st.param.b32 [a], %r9;
        @%p1 call (b), twice, (a); @%p1 ld.param.b32 %r9, [b]; }";
    let input = numbers(40);
    let expected = |x: u32| {
        let y = if x % 2 == 1 { x } else { 4 * x + 1000 };
        if x > 15 { 2 * y } else { y }
    };
    let (got, counters) = run(functions, body, &input);
    assert_eq!(got, input.iter().map(|&x| expected(x)).collect::<Vec<_>>());
    assert_eq!(counters.local_requests, 0, "parameters of calls are no local memory");
    let recursive = ".version 7.0\n.target sm_80\n.func f() { call f; ret; }\n.entry k() { call f; ret; }";
    assert!(Module::parse(recursive).unwrap_err().what.contains("recursion"));
}

#[test]
fn generic_addresses_reach_every_space() {
    let body = ".shared .align 4 .b8 s[512]; .local .align 4 .b8 l[8]; .shared .align 8 .b8 t[8];
        shl.b32 %r3, %r2, 2; mov.u32 %r4, s; add.u32 %r4, %r4, %r3; cvt.u64.u32 %rd5, %r4;
        cvta.shared.u64 %rd6, %rd5; st.u32 [%rd6], %r1; ld.shared.u32 %r5, [%r4];
        mov.u64 %rd7, l; cvta.local.u64 %rd8, %rd7; st.u32 [%rd8+4], %r5; ld.local.u32 %r6, [l+4];
        cvta.to.shared.u64 %rd9, %rd6; ld.shared.u32 %r7, [%rd9]; ld.u32 %r8, [%rd3];
        isspacep.shared %p1, %rd6; isspacep.global %p2, %rd6; isspacep.local %p3, %rd8;
        selp.u32 %r10, 1, 0, %p1; selp.u32 %r11, 10, 0, %p2; selp.u32 %r12, 100, 0, %p3;
        add.u32 %r9, %r6, %r7; add.u32 %r9, %r9, %r8; add.u32 %r9, %r9, %r10; add.u32 %r9, %r9, %r11; add.u32 %r9, %r9, %r12;
        setp.eq.u32 %p4, %r2, 0; selp.b64 %rd10, %rd3, %rd6, %p4; ld.u32 %r13, [%rd10]; add.u32 %r9, %r9, %r13;";
    let input = numbers(64);
    let (got, counters) = run("", body, &input);
    assert_eq!(got, input.iter().map(|x| 4 * x + 101).collect::<Vec<_>>());
    assert!(counters.local_requests > 0);
}

#[test]
fn narrow_loads_extend_and_narrow_stores_cut() {
    let body = ".shared .align 8 .b8 s[1024];
        shl.b32 %r3, %r2, 3; mov.u32 %r4, s; add.u32 %r4, %r4, %r3;
        mul.lo.u32 %r5, %r1, 0x01f1; neg.s32 %r5, %r5; cvt.u16.u32 %rs1, %r5;
        st.shared.u16 [%r4], %rs1; st.shared.u8 [%r4+2], %rs1; st.shared.u8 [%r4+3], %r5; st.shared.u32 [%r4+4], 0;
        ld.shared.s16 %r6, [%r4]; ld.shared.u16 %r7, [%r4]; ld.shared.s8 %r8, [%r4+2]; ld.shared.u8 %rs2, [%r4+3];
        cvt.u32.u16 %r10, %rs2; ld.shared.v2.u8 {%rs3, %rs4}, [%r4+2]; cvt.u32.u16 %r11, %rs4;
        xor.b32 %r9, %r6, %r7; xor.b32 %r9, %r9, %r8; xor.b32 %r9, %r9, %r10; add.u32 %r9, %r9, %r11;";
    let input = numbers(64);
    let expected = |x: u32| {
        let y = (x * 0x1f1).wrapping_neg();
        let (half, byte) = (y as u16, y as u8);
        (half as i16 as u32 ^ u32::from(half) ^ byte as i8 as u32 ^ u32::from(byte)).wrapping_add(u32::from(byte))
    };
    assert_eq!(run("", body, &input).0, input.iter().map(|&x| expected(x)).collect::<Vec<_>>());
}

#[test]
fn shared_atomics_and_tickets() {
    let body = ".shared .align 16 .b8 s[16];
        setp.eq.u32 %p1, %r2, 0; @%p1 st.shared.v4.u32 [s], {%r2, %r2, %r2, %r2}; bar.sync 0;
        atom.shared.add.u32 %r3, [s], %r1; red.shared.max.u32 [s+4], %r1; atom.shared.inc.u32 %r4, [s+8], 9;
        atom.shared.cas.b32 %r5, [s+12], %r2, 77;
        bar.sync 0; ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [s];
        mad.lo.u32 %r9, %r6, 1000, %r5; mad.lo.u32 %r9, %r7, 100000, %r9; mad.lo.u32 %r9, %r8, 1000000, %r9;";
    let input = numbers(64);
    let (got, counters) = run("", body, &input);
    let (sum, most) = (input.iter().sum::<u32>(), input.iter().max().unwrap());
    assert_eq!(got, [sum + 1000 * most + 100_000 * (64 % 10) + 77_000_000; 64]);
    assert_eq!((counters.integer_atomics, counters.float_atomics), (8, 0));
}

#[test]
fn machines_may_run_in_threads() {
    fn sendable<T: Send>() {}
    sendable::<Machine>();
    fn shareable<T: Send + Sync>() {}
    shareable::<Kernel>();
}

#[test]
fn orders_differ_by_seed_and_barriers_hold_in_all() {
    // Tickets of warps: their order is the schedule's.
    let text =
        ".version 7.0\n.target sm_80\n.entry k(.param .u64 p) { .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<2>;
        ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; setp.ne.u32 %p1, %r2, 0; @%p1 ret;
        atom.global.add.u32 %r3, [%rd1], 1; mad.wide.u32 %rd2, %r3, 4, %rd1; st.global.u32 [%rd2+4], %r1; ret; }";
    let order = |seed| {
        let mut bench = Bench::new(text, Options { seed, ..Options::default() });
        let p = bench.words(&[0; 17]);
        bench.launch("k", [1, 1, 1], [512, 1, 1], &[Pointer(p)]).unwrap();
        bench.read_words(p + 4, 16)
    };
    assert_eq!(order(3), order(3));
    let distinct = (0..10).map(order).collect::<std::collections::HashSet<_>>();
    assert!(distinct.len() > 5, "{distinct:?}");
}
