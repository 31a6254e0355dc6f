//! Planted faults: each must be found, with its kind and its line, and its healthy twin must run.
//!
//! The texts are bodies of kernels; `// here` marks the lines that may be blamed.

mod common;

use common::Arg::{Pointer, U32};
use common::Bench;
use hpt_ptxsim::{Counters, Fault, FaultKind, Launch, Machine, Module, Options};

/// A module with one kernel `k` that takes a pointer and a number, in `%rd1` and `%r1`, with its thread in `%r2`,
/// its block in `%r3`, and the address of the pointer's word of this thread in `%rd2`.
fn text(body: &str) -> String {
    format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 p, .param .u32 n)\n{{\n\
         .reg .pred %p<20>;\n.reg .b16 %rs<20>;\n.reg .b32 %r<60>;\n.reg .b64 %rd<40>;\n.reg .f32 %f<40>;\n\
         ld.param.u64 %rd1, [p];\nld.param.u32 %r1, [n];\nmov.u32 %r2, %tid.x;\nmov.u32 %r3, %ctaid.x;\n\
         mul.wide.u32 %rd3, %r2, 4;\nadd.s64 %rd2, %rd1, %rd3;\n{body}\nret;\n}}\n"
    )
}

/// Runs a body on `words` words of zeros.
fn run(body: &str, words: usize, n: u32, [grid, block]: [u32; 2], options: Options) -> Result<Counters, Fault> {
    let mut bench = Bench::new(&text(body), options);
    let p = bench.words(&vec![0; words]);
    bench.launch_with("k", [grid, 1, 1], [block, 1, 1], 256, &[Pointer(p), U32(n)])
}

fn with_seed(seed: u64) -> Options {
    Options { seed, step_limit: 100_000, ..Options::default() }
}

/// The fault of a body under several seeds, always of `kind` and on a marked line.
fn faulty(body: &str, shape: [u32; 2], kind: FaultKind) -> Fault {
    let text = text(body);
    let marked: Vec<u32> =
        text.lines().zip(1..).filter(|(line, _)| line.contains("// here")).map(|(_, at)| at).collect();
    let mut last = None;
    for seed in 0..6 {
        let fault =
            run(body, 64, 64, shape, with_seed(seed)).err().unwrap_or_else(|| panic!("seed {seed} found nothing"));
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(marked.contains(&fault.line), "line {} is not one of {marked:?}: {fault}", fault.line);
        let line = text.lines().nth(fault.line as usize - 1).unwrap();
        assert!(line.contains(&fault.instruction), "`{}` does not stand in `{line}`", fault.instruction);
        last = Some(fault);
    }
    last.unwrap()
}

fn healthy(body: &str, shape: [u32; 2]) -> Counters {
    let mut last = None;
    for seed in 0..6 {
        last = Some(run(body, 64, 64, shape, with_seed(seed)).unwrap());
    }
    last.unwrap()
}

const EXCHANGE: &str = ".shared .align 4 .b8 s[256];
    mov.u32 %r4, s; shl.b32 %r5, %r2, 2; add.s32 %r6, %r4, %r5; sub.s32 %r7, 252, %r5; add.s32 %r7, %r7, %r4;
    st.shared.u32 [%r6], %r2; // here
    BARRIER
    ld.shared.u32 %r8, [%r7]; // here
    st.global.u32 [%rd2], %r8;";

#[test]
fn a_missing_barrier_is_a_race() {
    healthy(&EXCHANGE.replace("BARRIER", "bar.sync 0;"), [1, 64]);
    let bare = EXCHANGE.replace("BARRIER", "");
    for seed in 0..20 {
        // Uninitialised where the reader comes first, a race where it comes second.
        let fault = run(&bare, 64, 0, [1, 64], with_seed(seed)).unwrap_err();
        assert!([FaultKind::Race, FaultKind::Uninitialised].contains(&fault.kind), "{fault}");
    }
    let written = format!(
        ".shared .align 4 .b8 t[256];\n{}",
        bare.replace(
            "st.shared.u32 [%r6], %r2; // here",
            "st.shared.u32 [%r6], 0;\nbar.sync 0;\nst.shared.u32 [%r6], %r2; // here"
        )
    );
    let fault = faulty(&written, [1, 64], FaultKind::Race);
    assert!(fault.detail.contains("shared word"), "{fault}");
}

#[test]
fn a_missing_barrier_at_the_end_of_a_loop_is_a_race() {
    let body = "mov.u32 %r10, 0;
        LOOP: \n"
        .to_owned()
        + &EXCHANGE.replace("BARRIER", "bar.sync 0;")
        + "\nEND\nadd.s32 %r10, %r10, 1;\nsetp.lt.u32 %p1, %r10, 3;\n@%p1 bra LOOP;";
    healthy(&body.replace("END", "bar.sync 0;"), [1, 64]);
    faulty(&body.replace("END", ""), [1, 64], FaultKind::Race);
}

#[test]
fn lanes_of_a_warp_are_not_ordered_by_running_together() {
    healthy(&EXCHANGE.replace("252", "124").replace("BARRIER", "bar.warp.sync 0xffffffff;"), [1, 32]);
    let fault = faulty(&EXCHANGE.replace("252", "124").replace("BARRIER", ""), [1, 32], FaultKind::Race);
    assert!(fault.detail.contains("of this block"), "{fault}");
}

#[test]
fn what_all_lanes_read_is_not_yet_free_to_write() {
    let body =
        ".shared .align 4 .b8 s[4];\nsetp.eq.u32 %p1, %r2, 5;\n@%p1 st.shared.u32 [s], 1;\nbar.warp.sync 0xffffffff;
        ld.shared.u32 %r4, [s];\nSYNC\n@%p1 st.shared.u32 [s], 2; // here\n";
    healthy(&body.replace("SYNC", "bar.warp.sync 0xffffffff;"), [1, 32]);
    let fault = faulty(&body.replace("SYNC", ""), [1, 32], FaultKind::Race);
    assert!(fault.detail.contains("read by several threads"), "{fault}");
}

#[test]
fn lanes_may_write_one_word_together_only_with_one_value() {
    let body = ".shared .align 4 .b8 s[4];\nst.shared.u32 [s], VALUE; // here\n";
    healthy(&body.replace("VALUE", "%r1"), [1, 32]);
    faulty(&body.replace("VALUE", "%r2"), [1, 32], FaultKind::Race);
    let global = "st.global.u32 [%rd1], VALUE; // here";
    healthy(&global.replace("VALUE", "%r1"), [1, 32]);
    faulty(&global.replace("VALUE", "%r2"), [1, 32], FaultKind::Race);
}

#[test]
fn halves_of_a_word_are_two_places() {
    let body = ".shared .align 4 .b8 s[64];
        mov.u32 %r4, s; shl.b32 %r5, %r2, 1; add.s32 %r6, %r4, %r5; cvt.u16.u32 %rs1, %r2;
        st.shared.u16 [%r6], %rs1; bar.warp.sync 0xffffffff; ld.shared.u16 %rs2, [s+62]; st.global.u16 [%rd2], %rs2;";
    healthy(body, [1, 32]);
}

#[test]
fn two_blocks_that_write_one_word_race() {
    let fault = faulty(
        "@%p1 bra X;\nX: st.global.u32 [%rd1], 7; // here".trim_start_matches("@%p1 bra X;\n"),
        [4, 1],
        FaultKind::Race,
    );
    assert!(fault.detail.contains("block ["), "{fault}");
    healthy("st.global.u32 [%rd1], 7;", [1, 1]);
    healthy("red.global.add.u32 [%rd1], 7;", [4, 32]);
    // One block reads what another writes.
    faulty(
        "setp.eq.s32 %p1, %r3, 0;\n@%p1 st.global.u32 [%rd1], 7; // here\n@!%p1 ld.global.u32 %r4, [%rd1]; // here",
        [4, 1],
        FaultKind::Race,
    );
}

#[test]
fn one_launch_is_ordered_before_the_next() {
    let mut bench = Bench::new(&text("st.global.u32 [%rd1], 7;"), Options::default());
    let p = bench.words(&[0]);
    for _ in 0..3 {
        bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap();
    }
    assert_eq!(bench.read_words(p, 1), [7]);
}

/// The last block adds what the others left; `FENCE` stands between a part and its ticket.
const LAST: &str = ".shared .align 4 .b8 s[4];
    mul.wide.u32 %rd4, %r3, 4; add.s64 %rd5, %rd1, %rd4;
    st.global.u32 [%rd5+4], %r3; // here
    FENCE
    atom.global.add.u32 %r4, [%rd1], 1;
    setp.ne.u32 %p1, %r4, 3;
    @%p1 bra DONE;
    ld.global.u32 %r5, [%rd1+4]; // here
    ld.global.u32 %r6, [%rd1+8]; // here
    ld.global.u32 %r7, [%rd1+12]; // here
    add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7; st.global.u32 [%rd1+32], %r5;
    DONE:";

#[test]
fn a_ticket_orders_blocks_only_behind_a_fence() {
    healthy(&LAST.replace("FENCE", "membar.gl;"), [4, 1]);
    faulty(&LAST.replace("FENCE", ""), [4, 1], FaultKind::Race);
}

#[test]
fn flags_order_blocks_that_wait_for_each_other() {
    let body = "setp.ne.u32 %p1, %r3, 0;
        @%p1 bra WAIT;
        st.global.u32 [%rd1+8], 5; // here
        st.release.gpu.global.u32 [%rd1], 1;
        ret;
        WAIT: LOAD %r4, [%rd1];
        setp.eq.u32 %p2, %r4, 0;
        @%p2 bra WAIT;
        ld.global.u32 %r5, [%rd1+8]; // here
        st.global.u32 [%rd1+16], %r5;";
    healthy(&body.replace("LOAD", "ld.acquire.gpu.global.u32"), [2, 1]);
    let fault = run(&body.replace("LOAD", "ld.global.u32"), 64, 0, [2, 1], with_seed(1)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Race);
}

#[test]
fn an_off_by_one_tail_is_out_of_bounds() {
    let body = "setp.gt.u32 %p1, %r2, %r1;\n@%p1 ret;\nld.global.u32 %r4, [%rd2]; // here\nst.global.u32 [%rd2], %r4;";
    let fault = faulty(body, [1, 96], FaultKind::OutOfBounds);
    assert_eq!((fault.thread, fault.block, fault.kernel.as_str()), ([64, 0, 0], [0; 3], "k"));
    assert!(fault.detail.contains("offset 256"), "{fault}");
    healthy(&body.replace("setp.gt", "setp.ge"), [1, 96]);
}

#[test]
fn one_shared_array_does_not_run_into_the_next() {
    let body = ".shared .align 4 .b8 s[64];\n.shared .align 4 .b8 t[64];\nst.shared.u32 [t], 1;\nst.shared.u32 [s+OFFSET], 1; // here";
    healthy(&body.replace("OFFSET", "60"), [1, 1]);
    faulty(&body.replace("OFFSET", "64"), [1, 1], FaultKind::OutOfBounds);
    let dynamic = ".extern .shared .align 16 .b8 d[];\nst.shared.u32 [d+OFFSET], 1; // here";
    healthy(&dynamic.replace("OFFSET", "252"), [1, 1]);
    faulty(&dynamic.replace("OFFSET", "256"), [1, 1], FaultKind::OutOfBounds);
}

#[test]
fn local_memory_and_parameters_have_ends() {
    let body = ".local .align 4 .b8 l[16];\nst.local.u32 [l+OFFSET], 1; // here";
    healthy(&body.replace("OFFSET", "12"), [1, 1]);
    faulty(&body.replace("OFFSET", "16"), [1, 1], FaultKind::OutOfBounds);
    faulty("ld.param.u64 %rd4, [p+16]; // here", [1, 1], FaultKind::OutOfBounds);
}

#[test]
fn what_nothing_wrote_does_not_leave_the_block() {
    let body = ".shared .align 4 .b8 s[256];\nld.shared.u32 %r4, [s+8];\nadd.s32 %r4, %r4, 1;\nUSE";
    let uses = [
        "st.global.u32 [%rd2], %r4; // here",
        "cvt.u64.u32 %rd4, %r4;\nadd.s64 %rd4, %rd4, %rd1;\nld.global.u32 %r5, [%rd4]; // here",
        "setp.eq.u32 %p1, %r4, 0;\n@%p1 bra X; // here\nX:",
        "atom.global.add.u32 %r5, [%rd1], %r4; // here",
        "shfl.sync.idx.b32 %r5, %r2, %r4, 31, 0xffffffff; // here",
    ];
    for place in uses {
        let fault = faulty(&body.replace("USE", place), [1, 32], FaultKind::Uninitialised);
        assert!(fault.detail.contains("on line 18"), "the load is named: {fault}");
    }
    // A copy of it within the block, and a selection that leaves it out, are no fault.
    healthy(&body.replace("USE", "st.shared.u32 [s+16], %r4;"), [1, 1]);
    healthy(
        &body.replace("USE", "setp.eq.u32 %p1, %r2, %r2;\nselp.u32 %r5, %r2, %r4, %p1;\nst.global.u32 [%rd2], %r5;"),
        [1, 32],
    );
    healthy(
        &body.replace("USE", "setp.eq.u32 %p1, %r4, 1;\nsetp.ne.and.u32 %p2, %r2, %r2, %p1;\n@%p2 bra X;\nX:"),
        [1, 32],
    );
}

#[test]
fn registers_begin_empty() {
    faulty("st.global.u32 [%rd2], %r40; // here", [1, 32], FaultKind::Uninitialised);
    faulty("@%p9 bra X; // here\nX:", [1, 32], FaultKind::Uninitialised);
    // Written by some lanes only.
    let body = "setp.lt.u32 %p1, %r2, 7;\n@%p1 mov.u32 %r40, 5;\nst.global.u32 [%rd2], %r40; // here";
    assert_eq!(faulty(body, [1, 32], FaultKind::Uninitialised).thread, [7, 0, 0]);
}

#[test]
fn fresh_device_memory_is_not_zero() {
    let mut bench = Bench::new(&text("ld.global.u32 %r4, [%rd2];\nst.global.u32 [%rd2+128], %r4;"), Options::default());
    let p = bench.machine.alloc(256);
    let fault = bench.launch("k", [1, 1, 1], [32, 1, 1], &[Pointer(p), U32(0)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Uninitialised);
    let mut byte = [0];
    assert_eq!(bench.machine.read(p, &mut byte).unwrap_err().kind, FaultKind::Uninitialised);
    bench.machine.read_raw(p, &mut byte).unwrap();
    let q = bench.words(&[1, 2, 3]);
    bench.machine.copy(q + 4, p, 4).unwrap();
    assert_eq!(bench.machine.read(q + 6, &mut byte).unwrap_err().kind, FaultKind::Uninitialised);
    assert_eq!(bench.read_words(q, 1), [1]);
    bench.machine.fill(q, 12, 0).unwrap();
    assert_eq!(bench.read_words(q, 3), [0; 3]);
}

#[test]
fn misaligned_vectors() {
    let body = "ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1+OFFSET]; // here";
    healthy(&body.replace("OFFSET", "16"), [1, 1]);
    faulty(&body.replace("OFFSET", "8"), [1, 1], FaultKind::Misaligned);
    // An array that asks for 4 bytes gets no more.
    faulty(".shared .align 4 .b8 s[64];\nst.shared.v2.u32 [s], {%r1, %r1}; // here", [1, 1], FaultKind::Misaligned);
}

#[test]
fn a_barrier_in_divergent_code() {
    faulty("setp.lt.u32 %p1, %r2, 16;\n@%p1 bra X;\nbar.sync 0; // here\nX:", [1, 64], FaultKind::BarrierDivergence);
    faulty("setp.lt.u32 %p1, %r2, 16;\n@%p1 bar.sync 0; // here", [1, 64], FaultKind::BarrierDivergence);
    faulty("setp.lt.u32 %p1, %r2, 16;\n@%p1 ret;\nbar.sync 0; // here", [1, 64], FaultKind::BarrierDivergence);
    // Whole warps may have left, lanes only where the barrier does not ask for whole warps; a warp may be short.
    healthy("setp.lt.u32 %p1, %r2, 32;\n@%p1 ret;\nbar.sync 0;", [1, 64]);
    healthy("setp.lt.u32 %p1, %r2, 16;\n@%p1 ret;\nbarrier.sync 0;", [1, 64]);
    healthy("bar.sync 0;", [1, 40]);
    // A part that stands behind the barrier in the text and comes back before it.
    healthy(
        "setp.lt.u32 %p1, %r2, 16;\n@%p1 bra FAR;\nJOIN: bar.sync 0;\nret;\nFAR: add.u32 %r4, %r2, 1;\nbra JOIN;",
        [1, 64],
    );
}

#[test]
fn a_shuffle_without_all_its_members() {
    let body = "setp.lt.u32 %p1, %r2, 16;
        @%p1 bra X;
        shfl.sync.bfly.b32 %r4, %r2, 1, 31, MASK; // here
        bra Y;
        X: shfl.sync.bfly.b32 %r4, %r2, 1, 31, MASK; // here
        Y:";
    faulty(&body.replace("MASK", "0xffffffff"), [1, 32], FaultKind::BarrierDivergence);
    faulty(&body.replace("MASK", "0x0000ffff"), [1, 32], FaultKind::BarrierDivergence);
    healthy(&body.replacen("MASK", "0xffff0000", 1).replace("MASK", "0x0000ffff"), [1, 32]);
    // A lane that left is not waited for.
    healthy("setp.lt.u32 %p1, %r2, 16;\n@%p1 ret;\nshfl.sync.bfly.b32 %r4, %r2, 1, 31, 0xffffffff;", [1, 32]);
    // A lane that takes no part gives nothing.
    let read = "setp.lt.u32 %p1, %r2, 16;\n@%p1 bra X;\nshfl.sync.idx.b32 %r4, %r2, 3, 31, 0xffff0000;
        st.global.u32 [%rd2], %r4; // here\nX:";
    faulty(read, [1, 32], FaultKind::Uninitialised);
}

#[test]
fn warps_that_wait_at_different_barriers() {
    let fault = faulty(
        "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra X;\nbar.sync 1; // here\nbra Y;\nX: bar.sync 2; // here\nY:",
        [1, 64],
        FaultKind::Deadlock,
    );
    assert!(fault.detail.contains("warp 0 at line") && fault.detail.contains("warp 1 at line"), "{fault}");
    faulty("bar.sync 1, 96; // here", [1, 64], FaultKind::Deadlock);
}

#[test]
fn named_barriers_order_those_that_take_part() {
    // Warp 0 fills and announces, warp 1 waits and reads; warp 2 does neither.
    let body = ".shared .align 4 .b8 s[4];
        setp.ge.u32 %p1, %r2, 64; @%p1 bra THIRD;
        setp.ge.u32 %p1, %r2, 32; @%p1 bra SECOND;
        st.shared.u32 [s], 5; // here
        bar.arrive 1, 64; ret;
        SECOND: bar.sync 1, 64; ld.shared.u32 %r4, [s]; st.global.u32 [%rd2], %r4; ret;
        THIRD: REST";
    healthy(&body.replace("REST", ""), [1, 96]);
    for seed in 0..8 {
        let fault = run(
            &body.replace("REST", "ld.shared.u32 %r4, [s];\nst.global.u32 [%rd2], %r4;"),
            96,
            0,
            [1, 96],
            with_seed(seed),
        );
        let kind = fault.unwrap_err().kind;
        assert!([FaultKind::Race, FaultKind::Uninitialised].contains(&kind), "{kind:?}");
    }
}

#[test]
fn a_loop_without_an_end() {
    faulty("X: add.u32 %r4, %r2, 1; // here\nbra X; // here", [1, 32], FaultKind::StepLimit);
}

#[test]
fn asynchronous_copies() {
    let body = ".shared .align 16 .b8 s[64];
        cp.async.cg.shared.global [s], [%rd1], 16, SIZE;
        cp.async.commit_group;
        cp.async.ca.shared.global [s+16], [%rd1+16], 4;
        cp.async.commit_group;
        cp.async.wait_group OPEN;
        ld.shared.u32 %r4, [s+AT]; // here
        st.global.u32 [%rd1+128], %r4;";
    let body = |size: &str, open: &str, at: &str| body.replace("SIZE", size).replace("OPEN", open).replace("AT", at);
    healthy(&body("16", "1", "12"), [1, 1]);
    healthy(&body("0", "0", "16"), [1, 1]);
    faulty(&body("16", "2", "12"), [1, 1], FaultKind::Asynchronous);
    faulty(&body("16", "1", "16"), [1, 1], FaultKind::Asynchronous);
    // Writing there is as wrong as reading.
    let write = ".shared .align 16 .b8 s[64];\ncp.async.ca.shared.global [s], [%rd1], 8;\nst.shared.u32 [s+4], 1; // here\ncp.async.wait_all;";
    faulty(write, [1, 1], FaultKind::Asynchronous);
    // Another warp needs a barrier after the wait.
    let other = ".shared .align 16 .b8 s[64];
        setp.ne.u32 %p1, %r2, 0;
        @!%p1 cp.async.ca.shared.global [s], [%rd1], 8;
        cp.async.wait_all;
        BARRIER
        ld.shared.u32 %r4, [s]; // here
        st.global.u32 [%rd2], %r4;";
    healthy(&other.replace("BARRIER", "bar.sync 0;"), [1, 64]);
    for seed in 0..8 {
        run(&other.replace("BARRIER", ""), 64, 0, [1, 64], with_seed(seed)).unwrap_err();
    }
}

#[test]
fn bytes_beyond_the_source_size_are_zero() {
    let body = ".shared .align 16 .b8 s[16];
        cp.async.ca.shared.global [s], [%rd1], 16, 5;
        cp.async.wait_all;
        ld.shared.v2.u32 {%r4, %r5}, [s];
        st.global.v2.u32 [%rd1+16], {%r4, %r5};";
    let mut bench = Bench::new(&text(body), Options::default());
    let p = bench.words(&[0x0403_0201, 0x0807_0605, 3, 4, 5, 6]);
    bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap();
    assert_eq!(bench.read_words(p + 16, 2), [0x0403_0201, 5]);
}

#[test]
fn freed_memory() {
    let mut bench = Bench::new(&text("ld.global.u32 %r4, [%rd1];"), Options::default());
    let p = bench.words(&[1, 2]);
    bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap();
    assert_eq!(bench.machine.free(p + 4).unwrap_err().kind, FaultKind::OutOfBounds);
    bench.machine.free(p).unwrap();
    assert_eq!(bench.machine.free(p).unwrap_err().kind, FaultKind::UseAfterFree);
    let q = bench.words(&[1, 2]);
    assert_ne!(p, q);
    let fault = bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UseAfterFree);
    assert_eq!(bench.machine.write(p, &[1]).unwrap_err().kind, FaultKind::UseAfterFree);
}

#[test]
fn traps_and_read_only_memory() {
    faulty("trap; // here", [1, 32], FaultKind::Trap);
    faulty("cvta.param.u64 %rd4, p;\nst.u32 [%rd4], 1; // here", [1, 1], FaultKind::ReadOnly);
    let constant =
        ".version 7.0\n.target sm_80\n.const .align 4 .u32 table[3] = {5, 6, 7};\n.global .align 4 .u32 total[2] = {1};
        .entry k(.param .u64 p, .param .u32 n) {\n.reg .b64 %rd<4>;\n.reg .b32 %r<4>;\nld.param.u64 %rd1, [p];
        ld.const.u32 %r1, [table+8];\nld.global.u32 %r2, [total];\nadd.u32 %r2, %r1, %r2;\nst.global.u32 [total], %r2;
        st.global.u32 [%rd1], %r2;\nmov.u64 %rd2, table;\nWRITE\nret; }";
    let mut bench = Bench::new(&constant.replace("WRITE", ""), Options::default());
    let p = bench.words(&[0]);
    for expected in [8, 15] {
        // Variables of a module keep their values from launch to launch.
        bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap();
        assert_eq!(bench.read_words(p, 1), [expected]);
    }
    let mut bench = Bench::new(&constant.replace("WRITE", "st.global.u32 [%rd2], 1;"), Options::default());
    let p = bench.words(&[0]);
    assert_eq!(bench.launch("k", [1, 1, 1], [1, 1, 1], &[Pointer(p), U32(0)]).unwrap_err().kind, FaultKind::ReadOnly);
}

#[test]
fn launches_that_no_device_accepts() {
    let limited = text("").replace("p, .param .u32 n)\n", "p, .param .u32 n)\n.maxntid 64, 2, 1\n");
    let module = Module::parse(&limited).unwrap();
    let kernel = module.kernel("k").unwrap();
    assert_eq!(kernel.max_threads(), Some(128));
    let mut machine = Machine::new(Options::default());
    let params = [0; 12];
    let good = Launch { grid: [1; 3], block: [128, 1, 1], shared_bytes: 1000, params: &params };
    machine.launch(kernel, good).unwrap();
    let bad = [
        Launch { block: [129, 1, 1], ..good },
        Launch { block: [1, 1, 65], ..good },
        Launch { block: [0, 1, 1], ..good },
        Launch { grid: [0, 1, 1], ..good },
        Launch { grid: [1, 65_536, 1], ..good },
        Launch { shared_bytes: 227 * 1024 + 1, ..good },
        Launch { params: &params[..8], ..good },
    ];
    for launch in bad {
        let fault = machine.launch(kernel, launch).unwrap_err();
        assert_eq!((fault.kind, fault.kernel.as_str()), (FaultKind::Launch, "k"), "{launch:?}");
    }
}

#[test]
fn what_is_not_known_is_an_error_with_its_line() {
    let cases = [
        ("setmaxnreg.inc.sync.aligned.u32 240;", "unknown instruction `setmaxnreg.inc.sync.aligned.u32`"),
        ("add.rn.s32 %r4, %r2, %r2;", "unknown modifier `.rn`"),
        ("ld.global.wild.u32 %r4, [%rd1];", "unknown modifier `.wild`"),
        ("fma.rn.bf16.bogus %rs1, %rs1, %rs1, %rs1;", "unknown modifier `.bogus`"),
        ("add.s32 %r4, %r2;", "2 operands"),
        ("add.s32 %r4, %r2, %q9;", "`%q9` is not declared"),
        ("add.s32 %r4, %r2, %rd1;", "64 bits where 32"),
        ("add.s32 %r4, %r60, %r1;", "`%r60` is not declared"),
        ("set.eq.f16x2.f16x2 %r4, %r1, %r2;", "unknown instruction"),
        ("setp.gt.ftz.s32 %p1, %r1, %r2;", "unknown instruction"),
        ("bra NOWHERE;", "no label `NOWHERE`"),
        ("fma.f32 %f1, %f1, %f1, %f1;", "unknown instruction `fma.f32`"),
        ("cvt.f32.s32 %f1, %r1;", "unknown instruction"),
        ("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1}, {%r1}, {%r1}, {%r1};", "expected one of"),
        (".align 4;", "expected a statement"),
        ("mov.u32 %r4 %r5;", "expected `,`"),
    ];
    for (statement, expected) in cases {
        let error = Module::parse(&text(statement)).unwrap_err();
        assert_eq!(error.line, 17, "{error}");
        assert!(error.what.contains(expected), "{error}");
    }
    assert!(Module::parse("hello").is_err());
    assert!(Module::parse("").is_err());
}
