//! `wgmma`: every order of a matrix in shared memory that a descriptor can say, fragments as the PTX manual describes
//! them, and the rules of its asynchrony, each broken once.

mod common;

use common::{Arg, Bench, noise};
use hpt_ptxsim::{FaultKind, Options};

/// How rows of a matrix by k lie in shared memory.
#[derive(Clone, Copy, Debug)]
enum Order {
    Cells,
    Swizzled(usize),
}

const ORDERS: [Order; 4] = [Order::Cells, Order::Swizzled(32), Order::Swizzled(64), Order::Swizzled(128)];

impl Order {
    /// Where byte `along` of a row stands, and the descriptor without its start.
    fn place(self, row: usize, along: usize) -> usize {
        match self {
            // 1024 bytes from 16 bytes of k to the next, 128 from eight rows to the next.
            Order::Cells => along / 16 * 1024 + row / 8 * 128 + row % 8 * 16 + along % 16,
            Order::Swizzled(width) => {
                // Pieces of 16 bytes change places in rows that would else lie in the same banks.
                let turn = match width {
                    32 => row / 4 % 2,
                    64 => row / 2 % 4,
                    _ => row % 8,
                };
                row * width + ((along / 16) ^ turn) * 16 + along % 16
            }
        }
    }

    fn descriptor(self) -> u64 {
        match self {
            Order::Cells => (1024 >> 4) << 16 | (128 >> 4) << 32,
            Order::Swizzled(width) => {
                let code = [(128, 1), (64, 2), (32, 3)].iter().find(|row| row.0 == width).unwrap().1;
                ((8 * width as u64) >> 4) << 32 | code << 62
            }
        }
    }
}

/// Columns of D.
const N: usize = 16;

/// One product by one warpgroup: A (64 rows) and B (16) go to shared memory, A's fragments to registers too.
fn text(kind: &str) -> String {
    let k = if kind == "tf32" { 8 } else { 16 };
    let zeros = if kind == "tf32" { "" } else { ", 0, 0" };
    let d: Vec<String> = (0..8).map(|i| format!("%d{i}")).collect();
    let d = d.join(", ");
    let move_all = |what: &str, count: usize| -> String {
        format!(
            "mov.u32 %r1, %tid.x;
            {what}: setp.ge.u32 %p1, %r1, {count}; @%p1 bra {what}_END;
            mul.wide.u32 %rd1, %r1, 8; add.u64 %rd1, %rd1, %rd_{what};
            ld.global.v2.u32 {{%r2, %r3}}, [%rd1]; mov.u32 %r4, {what}_AT; add.u32 %r4, %r4, %r2;
            st.shared.u32 [%r4], %r3;
            add.u32 %r1, %r1, 128; bra.uni {what}; {what}_END:"
        )
    };
    let described = |what: &str| {
        format!(
            "mov.u32 %r5, {what}_AT; and.b32 %r5, %r5, 262143; shr.u32 %r5, %r5, 4; cvt.u64.u32 %rd2, %r5;
            ld.param.u64 %desc_{what}, [order]; or.b64 %desc_{what}, %desc_{what}, %rd2;"
        )
    };
    format!(
        ".version 8.0\n.target sm_90a\n.address_size 64
        .visible .entry k(.param .u64 a, .param .u64 b, .param .u64 f, .param .u64 out, .param .u64 order)
        .maxntid 128, 1, 1
        {{
        .reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %rd<9>; .reg .b32 %a<4>; .reg .f32 %d<8>;
        .reg .b64 %rd_A; .reg .b64 %rd_B; .reg .b64 %desc_A; .reg .b64 %desc_B;
        .shared .align 1024 .b8 A_AT[8192]; .shared .align 1024 .b8 B_AT[8192];
        ld.param.u64 %rd_A, [a]; ld.param.u64 %rd_B, [b];
        {move_a}
        {move_b}
        ld.param.u64 %rd3, [f]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd1, %r1, 16; add.u64 %rd3, %rd3, %rd1;
        ld.global.v4.u32 {{%a0, %a1, %a2, %a3}}, [%rd3];
        {a}
        {b}
        fence.proxy.async.shared::cta;
        bar.sync 0;
        mov.f32 %d0, 0f3f800000; mov.f32 %d1, %d0; mov.f32 %d2, %d0; mov.f32 %d3, %d0;
        mov.f32 %d4, %d0; mov.f32 %d5, %d0; mov.f32 %d6, %d0; mov.f32 %d7, %d0;
        setp.eq.u32 %p2, %r1, %r1;
        wgmma.fence.sync.aligned;
        wgmma.mma_async.sync.aligned.m64n16k{k}.f32.{kind}.{kind} {{{d}}}, {{%a0, %a1, %a2, %a3}}, %desc_B, 0, 1, 1{zeros};
        wgmma.mma_async.sync.aligned.m64n16k{k}.f32.{kind}.{kind} {{{d}}}, %desc_A, %desc_B, %p2, -1, 1{zeros};
        wgmma.mma_async.sync.aligned.m64n16k{k}.f32.{kind}.{kind} {{{d}}}, %desc_A, %desc_B, 1, 1, 1{zeros};
        wgmma.commit_group.sync.aligned;
        // here
        wgmma.wait_group.sync.aligned 0;
        ld.param.u64 %rd4, [out]; mul.wide.u32 %rd1, %r1, 32; add.u64 %rd4, %rd4, %rd1;
        st.global.v4.f32 [%rd4], {{%d0, %d1, %d2, %d3}}; st.global.v4.f32 [%rd4+16], {{%d4, %d5, %d6, %d7}};
        ret; }}",
        move_a = move_all("A", 64 * 8),
        move_b = move_all("B", N * 8),
        a = described("A"),
        b = described("B"),
    )
}

/// Two numbers of 16 bits, or one of 32, of small whole numbers.
fn word(kind: &str, row: &[f32], at: usize) -> u32 {
    match kind {
        "tf32" => row[at].to_bits(),
        _ => row[2 * at].to_bits() >> 16 | row[2 * at + 1].to_bits() & 0xffff_0000,
    }
}

/// What the kernel is given, for operands of whole numbers.
struct Job {
    kind: &'static str,
    order: Order,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Job {
    fn new(kind: &'static str, order: Order) -> Self {
        let k = if kind == "tf32" { 8 } else { 16 };
        let whole = |seed, count| noise(seed, count).into_iter().map(|x| (x * 4.0).round()).collect();
        Job { kind, order, a: whole(1, 64 * k), b: whole(2, N * k) }
    }

    fn k(&self) -> usize {
        self.a.len() / 64
    }

    fn run(&self, text: &str, descriptor: u64, seed: u64) -> Result<Vec<f32>, (FaultKind, String)> {
        let mut bench = Bench::new(text, Options { seed, ..Options::default() });
        let row =
            |x: &'static str, matrix: &[f32], row: usize, at: usize| word(x, &matrix[row * self.k()..][..self.k()], at);
        let places = |matrix: &[f32], rows: usize| -> Vec<u32> {
            let each = |(r, at)| [self.order.place(r, 4 * at) as u32, row(self.kind, matrix, r, at)];
            (0..rows).flat_map(|r| (0..8).map(move |at| (r, at))).flat_map(each).collect()
        };
        let (a, b) = (bench.words(&places(&self.a, 64)), bench.words(&places(&self.b, N)));
        // The manual: register i of lane l has row l / 4 + 8 (i % 2) of its warp's 16, words l % 4 + 4 (i / 2) of it.
        let fragment = |thread: usize, i: usize| {
            let lane = thread % 32;
            row(self.kind, &self.a, thread / 32 * 16 + lane / 4 + 8 * (i % 2), lane % 4 + 4 * (i / 2))
        };
        let fragments: Vec<u32> = (0..128 * 4).map(|at| fragment(at / 4, at % 4)).collect();
        let fragments = bench.words(&fragments);
        let out = bench.machine.alloc(4 * 64 * N);
        let order = Arg::Pointer(descriptor);
        let args = [Arg::Pointer(a), Arg::Pointer(b), Arg::Pointer(fragments), Arg::Pointer(out), order];
        bench.launch("k", [1, 1, 1], [128, 1, 1], &args).map_err(|fault| (fault.kind, fault.detail))?;
        let registers = bench.read_floats(out, 64 * N);
        // Register j of lane l has row l / 4 + 8 (j % 4 / 2), column 8 (j / 4) + 2 (l % 4) + j % 2.
        let mut d = vec![0.0; 64 * N];
        for (at, value) in registers.into_iter().enumerate() {
            let (thread, j) = (at / 8, at % 8);
            let (row, column) =
                (thread / 32 * 16 + thread % 32 / 4 + 8 * (j % 4 / 2), 8 * (j / 4) + 2 * (thread % 4) + j % 2);
            d[row * N + column] = value;
        }
        Ok(d)
    }

    fn expected(&self) -> Vec<f32> {
        let k = self.k();
        let sum = |at: usize| (0..k).map(|i| self.a[at / N * k + i] * self.b[at % N * k + i]).sum();
        (0..64 * N).map(sum).collect()
    }
}

#[test]
fn every_order_of_shared_memory_gives_the_product() {
    for kind in ["tf32", "bf16"] {
        for order in ORDERS {
            let job = Job::new(kind, order);
            for seed in 0..3 {
                let got = job.run(&text(kind), order.descriptor(), seed);
                assert_eq!(got, Ok(job.expected()), "{kind} {order:?}");
            }
        }
    }
}

#[test]
fn another_order_gives_other_numbers() {
    for order in ORDERS {
        for other in ORDERS {
            let job = Job::new("tf32", order);
            let same = order.descriptor() == other.descriptor();
            assert_eq!(
                job.run(&text("tf32"), other.descriptor(), 0) == Ok(job.expected()),
                same,
                "{order:?} {other:?}"
            );
        }
    }
    // A base offset is not known.
    let job = Job::new("tf32", Order::Cells);
    let found = job.run(&text("tf32"), Order::Cells.descriptor() | 1 << 49, 0);
    assert_eq!(found.map_err(|fault| fault.0), Err(FaultKind::OutOfBounds));
}

/// The kinds of faults that some schedules of a broken kernel meet.
fn faults(change: impl Fn(String) -> String) -> Vec<FaultKind> {
    let (good, job) = (text("tf32"), Job::new("tf32", Order::Cells));
    let broken = change(good.clone());
    assert_ne!(good, broken);
    (0..6).filter_map(|seed| job.run(&broken, Order::Cells.descriptor(), seed).err()).map(|fault| fault.0).collect()
}

#[test]
fn rules_that_are_broken_have_names() {
    use FaultKind::{Asynchronous, BarrierDivergence, Race, Unfenced};
    let without = |what: &'static str| move |text: String| text.replacen(what, "", 1);
    let with = |what: &'static str| move |text: String| text.replace("// here", what);
    assert_eq!(faults(without("wgmma.fence.sync.aligned;")), [Unfenced; 6]);
    assert_eq!(faults(without("fence.proxy.async.shared::cta;")), [Unfenced; 6]);
    assert_eq!(faults(without("wgmma.wait_group.sync.aligned 0;")), [Asynchronous; 6]);
    assert_eq!(faults(without("wgmma.commit_group.sync.aligned;")), [Asynchronous; 6]);
    // Accumulators and fragments, read and written too early.
    assert_eq!(faults(with("add.f32 %d0, %d0, %d1;")), [Asynchronous; 6]);
    assert_eq!(faults(with("mov.u32 %a2, 0;")), [Asynchronous; 6]);
    assert_eq!(faults(with("mov.b32 %r9, %a2;")), [Asynchronous; 6]);
    // What it reads in shared memory, overwritten.
    assert_eq!(
        faults(with("setp.eq.u32 %p4, %r1, 0; mov.u32 %r9, B_AT; @%p4 st.shared.u32 [%r9], %r1;")),
        [Asynchronous; 6]
    );
    // A barrier that comes too early, and none: a race, or what was not fenced yet.
    let none = faults(without("bar.sync 0;"));
    assert!(none.iter().all(|kind| [Race, Unfenced].contains(kind)) && none.len() == 6, "{none:?}");
    let late = faults(|text| {
        let text = text.replace("fence.proxy.async.shared::cta;", "").replace("bar.sync 0;", "bar.sync 0; LATE");
        text.replace("LATE", "fence.proxy.async.shared::cta;")
    });
    assert!(late.contains(&Unfenced), "{late:?}");
    // One warp of the four that goes another way.
    let astray = |text: String| {
        text.replace("wgmma.fence.sync", "setp.gt.u32 %p3, %r1, 95; @%p3 bra END; wgmma.fence.sync")
            .replace("ret; }", "END: ret; }")
    };
    assert_eq!(faults(astray), [BarrierDivergence; 6]);
}

#[test]
fn what_is_not_known_is_refused() {
    let refused = |from: &str, to: &str| {
        let good = text("bf16");
        assert!(good.contains(from), "{from}");
        hpt_ptxsim::Module::parse(&good.replace(from, to)).unwrap_err().to_string()
    };
    // An operand by rows, f16 sums, a shape that does not exist.
    assert!(refused("1, 1, 1, 0, 0", "1, 1, 1, 0, 1").contains("zeros"));
    assert!(refused("m64n16k16.f32.", "m64n16k16.f16.").contains("unknown instruction"));
    assert!(refused("m64n16k16", "m64n12k16").contains("unknown instruction"));
    assert!(refused("wgmma.commit_group.sync.aligned", "wgmma.commit_group.sync").contains("unknown instruction"));
}
