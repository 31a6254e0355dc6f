//! Every family of opcodes against Rust's own arithmetic, over values at all edges.

mod common;

use common::check;
use hpt_ptxsim::Module;

fn words() -> Vec<u64> {
    let mut values: Vec<u64> =
        [0, 1, 2, 3, 5, 7, 15, 16, 31, 32, 33, 63, 64, 100, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fff_ffff]
            .to_vec();
    values.extend([0x8000_0000u64, 0x8000_0001, 0xffff_fffe, 0xffff_ffff, 0xdead_beef, 0x0123_4567]);
    values
}

fn longs() -> Vec<u64> {
    let mut values = words();
    values.extend([u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 32, 0x0123_4567_89ab_cdef, !0 << 40]);
    values
}

/// `op` on 32 bits: the result is `%r9`.
fn word(op: &str, expected: impl Fn(u32, u32, u32) -> u32) {
    let statements = format!("{op} cvt.u64.u32 %rd9, %r9;");
    check(&statements, &words(), |a, b, c| u64::from(expected(a as u32, b as u32, c as u32)));
}

fn long(op: &str, expected: impl Fn(u64, u64, u64) -> u64) {
    check(op, &longs(), expected);
}

fn half(op: &str, expected: impl Fn(u16, u16, u16) -> u16) {
    let statements = format!("{op} cvt.u64.u16 %rd9, %rs8;");
    check(&statements, &words(), |a, b, c| u64::from(expected(a as u16, b as u16, c as u16)));
}

/// A predicate `%p1` as 0 or 1.
fn truth(op: &str, values: &[u64], expected: impl Fn(u64, u64, u64) -> bool) {
    check(&format!("{op} selp.u64 %rd9, 1, 0, %p1;"), values, |a, b, c| u64::from(expected(a, b, c)));
}

#[test]
fn words_add_and_multiply() {
    word("add.s32 %r9, %r1, %r2;", |a, b, _| a.wrapping_add(b));
    word("add.sat.s32 %r9, %r1, %r2;", |a, b, _| (a as i32).saturating_add(b as i32) as u32);
    word("sub.u32 %r9, %r1, %r2;", |a, b, _| a.wrapping_sub(b));
    word("sub.s32 %r9, %r1, -5;", |a, _, _| a.wrapping_add(5));
    word("mul.lo.s32 %r9, %r1, %r2;", |a, b, _| a.wrapping_mul(b));
    word("mul.hi.u32 %r9, %r1, %r2;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    word("mul.hi.s32 %r9, %r1, %r2;", |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32);
    word("mad.lo.s32 %r9, %r1, %r2, %r3;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    word("mad.hi.u32 %r9, %r1, %r2, %r3;", |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c));
    word("mad.hi.s32 %r9, %r1, %r2, %r3;", |a, b, c| {
        (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c)
    });
    word("sad.u32 %r9, %r1, %r2, %r3;", |a, b, c| a.abs_diff(b).wrapping_add(c));
    word("sad.s32 %r9, %r1, %r2, %r3;", |a, b, c| (a as i32).abs_diff(b as i32).wrapping_add(c));
    long("mul.wide.u32 %rd9, %r1, %r2;", |a, b, _| u64::from(a as u32) * u64::from(b as u32));
    long("mul.wide.s32 %rd9, %r1, %r2;", |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64);
    long("mad.wide.u32 %rd9, %r1, %r2, %rd3;", |a, b, c| (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c));
    long("mad.wide.s32 %rd9, %r1, %r2, %rd3;", |a, b, c| {
        (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64) as u64
    });
    word("mul.wide.u16 %r9, %rs1, %rs2;", |a, b, _| (a & 0xffff) * (b & 0xffff));
    word("mul.wide.s16 %r9, %rs1, %rs2;", |a, b, _| (i32::from(a as i16) * i32::from(b as i16)) as u32);
    word("mul24.lo.u32 %r9, %r1, %r2;", |a, b, _| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff));
}

#[test]
fn words_divide_without_traps() {
    word("div.u32 %r9, %r1, %r2;", |a, b, _| a.checked_div(b).unwrap_or(u32::MAX));
    word("div.s32 %r9, %r1, %r2;", |a, b, _| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 });
    word("rem.u32 %r9, %r1, %r2;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    word("rem.s32 %r9, %r1, %r2;", |a, b, _| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 });
    long("div.u64 %rd9, %rd1, %rd2;", |a, b, _| a.checked_div(b).unwrap_or(u64::MAX));
    long("rem.s64 %rd9, %rd1, %rd2;", |a, b, _| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 });
    half(
        "div.s16 %rs8, %rs1, %rs2;",
        |a, b, _| if b == 0 { u16::MAX } else { (a as i16).wrapping_div(b as i16) as u16 },
    );
    half("rem.u16 %rs8, %rs1, %rs2;", |a, b, _| a.checked_rem(b).unwrap_or(a));
}

#[test]
fn words_order_and_negate() {
    word("min.s32 %r9, %r1, %r2;", |a, b, _| (a as i32).min(b as i32) as u32);
    word("min.u32 %r9, %r1, %r2;", |a, b, _| a.min(b));
    word("max.s32 %r9, %r1, %r2;", |a, b, _| (a as i32).max(b as i32) as u32);
    word("max.u32 %r9, %r1, %r2;", |a, b, _| a.max(b));
    word("abs.s32 %r9, %r1;", |a, _, _| (a as i32).wrapping_abs() as u32);
    word("neg.s32 %r9, %r1;", |a, _, _| a.wrapping_neg());
    long("min.s64 %rd9, %rd1, %rd2;", |a, b, _| (a as i64).min(b as i64) as u64);
    long("max.u64 %rd9, %rd1, %rd2;", |a, b, _| a.max(b));
    long("abs.s64 %rd9, %rd1;", |a, _, _| (a as i64).wrapping_abs() as u64);
    half("max.s16 %rs8, %rs1, %rs2;", |a, b, _| (a as i16).max(b as i16) as u16);
    half("neg.s16 %rs8, %rs1;", |a, _, _| a.wrapping_neg());
    half("mul.lo.s16 %rs8, %rs1, %rs2;", |a, b, _| a.wrapping_mul(b));
    half("mad.lo.u16 %rs8, %rs1, %rs2, %rs3;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    half("add.u16 %rs8, %rs1, %rs2;", |a, b, _| a.wrapping_add(b));
    half("sub.s16 %rs8, %rs1, %rs2;", |a, b, _| a.wrapping_sub(b));
}

#[test]
fn bits() {
    word("and.b32 %r9, %r1, %r2;", |a, b, _| a & b);
    word("or.b32 %r9, %r1, %r2;", |a, b, _| a | b);
    word("xor.b32 %r9, %r1, %r2;", |a, b, _| a ^ b);
    word("not.b32 %r9, %r1;", |a, _, _| !a);
    word("cnot.b32 %r9, %r1;", |a, _, _| u32::from(a == 0));
    word("popc.b32 %r9, %r1;", |a, _, _| a.count_ones());
    word("clz.b32 %r9, %r1;", |a, _, _| a.leading_zeros());
    word("brev.b32 %r9, %r1;", |a, _, _| a.reverse_bits());
    word("bfind.u32 %r9, %r1;", |a, _, _| a.checked_ilog2().unwrap_or(u32::MAX));
    word("bfind.s32 %r9, %r1;", |a, _, _| (if (a as i32) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX));
    word("bfind.shiftamt.u32 %r9, %r1;", |a, _, _| if a == 0 { u32::MAX } else { a.leading_zeros() });
    word("popc.b64 %r9, %rd1;", |a, _, _| a.count_ones());
    word("clz.b64 %r9, %rd1;", |a, _, _| 32 + a.leading_zeros());
    long("not.b64 %rd9, %rd1;", |a, _, _| !a);
    long("xor.b64 %rd9, %rd1, %rd2;", |a, b, _| a ^ b);
    half("not.b16 %rs8, %rs1;", |a, _, _| !a);
    word("lop3.b32 %r9, %r1, %r2, %r3, 0x96;", |a, b, c| a ^ b ^ c);
    word("lop3.b32 %r9, %r1, %r2, %r3, 0xe8;", |a, b, c| a & b | b & c | a & c);
    word("lop3.b32 %r9, %r1, %r2, %r3, 0x70;", |a, b, c| a & !(b & c));
}

#[test]
fn shifts_beyond_the_width_leave_nothing_or_the_sign() {
    word("shl.b32 %r9, %r1, %r2;", |a, b, _| a.checked_shl(b).unwrap_or(0));
    word("shr.u32 %r9, %r1, %r2;", |a, b, _| a.checked_shr(b).unwrap_or(0));
    word("shr.s32 %r9, %r1, %r2;", |a, b, _| ((a as i32) >> b.min(31)) as u32);
    long("shl.b64 %rd9, %rd1, %r2;", |a, b, _| a.checked_shl(b as u32).unwrap_or(0));
    long("shr.u64 %rd9, %rd1, %r2;", |a, b, _| a.checked_shr(b as u32).unwrap_or(0));
    long("shr.s64 %rd9, %rd1, %r2;", |a, b, _| ((a as i64) >> (b as u32).min(63)) as u64);
    half("shl.b16 %rs8, %rs1, 3;", |a, _, _| a << 3);
    half("shr.s16 %rs8, %rs1, 20;", |a, _, _| ((a as i16) >> 15) as u16);
    word("shf.l.wrap.b32 %r9, %r1, %r2, %r3;", |a, b, c| ((pair(a, b) << (c & 31)) >> 32) as u32);
    word("shf.l.clamp.b32 %r9, %r1, %r2, %r3;", |a, b, c| ((pair(a, b) << c.min(32)) >> 32) as u32);
    word("shf.r.wrap.b32 %r9, %r1, %r2, %r3;", |a, b, c| (pair(a, b) >> (c & 31)) as u32);
    word("shf.r.clamp.b32 %r9, %r1, %r2, %r3;", |a, b, c| (pair(a, b) >> c.min(32)) as u32);
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// `bfe` bit by bit, as the manual writes it.
fn field(a: u64, start: u32, length: u32, bits: u32, signed: bool) -> u64 {
    let (start, length) = (start & 255, length & 255);
    let bit = |at: u32| a >> at & 1;
    let sign = if !signed || length == 0 { 0 } else { bit((start + length - 1).min(bits - 1)) };
    (0..bits).fold(0, |d, i| d | (if i < length && start + i < bits { bit(start + i) } else { sign }) << i)
}

#[test]
fn fields_and_bytes() {
    word("bfe.u32 %r9, %r1, %r2, %r3;", |a, b, c| field(a.into(), b, c, 32, false) as u32);
    word("bfe.s32 %r9, %r1, %r2, %r3;", |a, b, c| field(a.into(), b, c, 32, true) as u32);
    long("bfe.u64 %rd9, %rd1, %r2, %r3;", |a, b, c| field(a, b as u32, c as u32, 64, false));
    long("bfe.s64 %rd9, %rd1, %r2, %r3;", |a, b, c| field(a, b as u32, c as u32, 64, true));
    word("bfi.b32 %r9, %r1, %r2, 5, %r3;", |a, b, c| insert(a.into(), b.into(), 5, c, 32) as u32);
    word("bfi.b32 %r9, %r1, %r2, %r3, 8;", |a, b, c| insert(a.into(), b.into(), c, 8, 32) as u32);
    long("bfi.b64 %rd9, %rd1, %rd2, 20, %r3;", |a, b, c| insert(a, b, 20, c as u32, 64));
    word("prmt.b32 %r9, %r1, %r2, %r3;", |a, b, c| {
        (0..4).fold(0, |d, i| {
            let choice = c >> (4 * i) & 15;
            let byte = (pair(a, b) >> (8 * (choice & 7))) as u8;
            let byte = if choice < 8 { byte } else { ((byte as i8) >> 7) as u8 };
            d | u32::from(byte) << (8 * i)
        })
    });
    word("prmt.b32 %r9, %r1, %r2, 0x5410;", |a, b, _| a & 0xffff | b << 16);
    word("prmt.b32.f4e %r9, %r1, %r2, %r3;", |a, b, c| (pair(a, b).rotate_right(8 * (c & 3)) & 0xffff_ffff) as u32);
    word("prmt.b32.b4e %r9, %r1, %r2, %r3;", |a, b, c| {
        (0..4)
            .fold(0, |d, i| d | ((pair(a, b).rotate_right(8 * ((c & 3).wrapping_sub(i) & 7))) as u32 & 255) << (8 * i))
    });
    word("prmt.b32.rc16 %r9, %r1, %r2, %r3;", |a, _, c| {
        let part = a >> (16 * (c & 1)) & 0xffff;
        part | part << 16
    });
    word("prmt.b32.rc8 %r9, %r1, %r2, %r3;", |a, _, c| (a >> (8 * (c & 3)) & 0xff) * 0x0101_0101);
    word("dp4a.u32.u32 %r9, %r1, %r2, %r3;", |a, b, c| {
        (0..4).fold(c, |sum, i| sum.wrapping_add((a >> (8 * i) & 255) * (b >> (8 * i) & 255)))
    });
    word("dp4a.s32.s32 %r9, %r1, %r2, %r3;", |a, b, c| {
        let byte = |x: u32, i: u32| i32::from((x >> (8 * i)) as u8 as i8);
        (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i) * byte(b, i)) as u32))
    });
}

fn insert(a: u64, b: u64, start: u32, length: u32, bits: u32) -> u64 {
    let (start, length) = (start & 255, length & 255);
    (0..bits).fold(0, |d, i| d | (if i >= start && i - start < length { a >> (i - start) } else { b >> i } & 1) << i)
}

#[test]
fn carries() {
    let sum = "add.cc.u32 %r4, %r1, %r2; addc.cc.u32 %r5, %r2, %r3; addc.u32 %r9, 0, 0;";
    word(sum, |a, b, c| ((u128::from(pair(a, b)) + u128::from(pair(b, c))) >> 64) as u32);
    let middle = "add.cc.u32 %r4, %r1, %r2; addc.u32 %r9, %r2, %r3;";
    word(middle, |a, b, c| (pair(a, b).wrapping_add(pair(b, c)) >> 32) as u32);
    let difference = "sub.cc.u32 %r4, %r1, %r2; subc.u32 %r9, %r2, %r3;";
    word(difference, |a, b, c| (pair(a, b).wrapping_sub(pair(b, c)) >> 32) as u32);
    let product = "mad.lo.cc.u32 %r4, %r1, %r2, %r3; madc.hi.u32 %r9, %r1, %r2, %r3;";
    word(product, |a, b, c| (u64::from(a) * u64::from(b)).wrapping_add(pair(c, c)).wrapping_shr(32) as u32);
}

#[test]
fn comparisons_of_integers_and_their_joins() {
    for (op, test) in [
        ("lt", (|o| o == std::cmp::Ordering::Less) as fn(std::cmp::Ordering) -> bool),
        ("le", |o| o != std::cmp::Ordering::Greater),
        ("gt", |o| o == std::cmp::Ordering::Greater),
        ("ge", |o| o != std::cmp::Ordering::Less),
        ("eq", |o| o == std::cmp::Ordering::Equal),
        ("ne", |o| o != std::cmp::Ordering::Equal),
    ] {
        truth(&format!("setp.{op}.u32 %p1, %r1, %r2;"), &words(), |a, b, _| test((a as u32).cmp(&(b as u32))));
        truth(&format!("setp.{op}.s32 %p1, %r1, %r2;"), &words(), |a, b, _| test((a as i32).cmp(&(b as i32))));
        truth(&format!("setp.{op}.u64 %p1, %rd1, %rd2;"), &longs(), |a, b, _| test(a.cmp(&b)));
        truth(&format!("setp.{op}.s64 %p1, %rd1, %rd2;"), &longs(), |a, b, _| test((a as i64).cmp(&(b as i64))));
        truth(&format!("setp.{op}.s16 %p1, %rs1, %rs2;"), &words(), |a, b, _| test((a as i16).cmp(&(b as i16))));
        truth(&format!("setp.{op}.u16 %p1, %rs1, %rs2;"), &words(), |a, b, _| test((a as u16).cmp(&(b as u16))));
    }
    truth("setp.hi.u32 %p1, %r1, %r2;", &words(), |a, b, _| a as u32 > b as u32);
    let third = "setp.lt.u32 %p2, %r3, 100;";
    truth(&format!("{third} setp.lt.and.u32 %p1, %r1, %r2, %p2;"), &words(), |a, b, c| a < b && c < 100);
    truth(&format!("{third} setp.lt.or.u32 %p1, %r1, %r2, !%p2;"), &words(), |a, b, c| a < b || c >= 100);
    truth(&format!("{third} setp.lt.xor.u32 %p1, %r1, %r2, %p2;"), &words(), |a, b, c| (a < b) != (c < 100));
    // The second destination holds the negation, joined the same way.
    truth(&format!("{third} setp.lt.and.u32 %p3|%p1, %r1, %r2, %p2;"), &words(), |a, b, c| a >= b && c < 100);
    truth(&format!("{third} setp.eq.u32 %p3, %r1, %r2; and.pred %p1, %p2, %p3;"), &words(), |a, b, c| {
        a == b && c < 100
    });
    truth(&format!("{third} setp.eq.u32 %p3, %r1, %r2; or.pred %p1, %p2, %p3;"), &words(), |a, b, c| a == b || c < 100);
    truth(&format!("{third} not.pred %p3, %p2; xor.pred %p1, %p3, %p2;"), &words(), |_, _, _| true);
    word("set.lt.u32.u32 %r9, %r1, %r2;", |a, b, _| if a < b { u32::MAX } else { 0 });
    word(
        "set.ge.f32.s32 %f4, %r1, %r2; mov.b32 %r9, %f4;",
        |a, b, _| if a as i32 >= b as i32 { 0x3f80_0000 } else { 0 },
    );
    word("slct.u32.s32 %r9, %r1, %r2, %r3;", |a, b, c| if c as i32 >= 0 { a } else { b });
    word("setp.ne.u32 %p1, %r3, 0; selp.b32 %r9, %r1, %r2, %p1;", |a, b, c| if c != 0 { a } else { b });
    half("setp.ne.u16 %p1, %rs3, 0; selp.b16 %rs8, %rs1, %rs2, %p1;", |a, b, c| if c != 0 { a } else { b });
}

/// A module is labelled for what is in it, as ptxas 13.0 demands: each instruction is refused one step below its least
/// target or version, and taken there.
#[test]
fn an_instruction_needs_its_target_and_version() {
    let rows = [
        ("wgmma.fence.sync.aligned;", "90a", "8.0", ["90", "100", "80"], "7.8"),
        ("cp.async.cg.shared.global [s], [%rd0], 16;", "80", "7.0", ["75", "75", "75"], "6.5"),
        ("cvt.rna.tf32.f32 %r0, %f0;", "80", "7.0", ["75", "75", "75"], "6.5"),
        ("cvt.rn.bf16x2.f32 %r0, %f0, %f1;", "80", "7.0", ["75", "75", "75"], "6.5"),
        ("fence.proxy.async.shared::cta;", "90", "8.0", ["89", "80", "75"], "7.8"),
        ("redux.sync.add.s32 %r0, %r1, -1;", "80", "7.0", ["75", "75", "75"], "6.5"),
        ("ld.global.L2::256B.f32 %f0, [%rd0];", "80", "7.4", ["75", "75", "75"], "7.2"),
        (
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0,%f1,%f2,%f3},{%r0,%r1,%r2,%r3},{%r4,%r5},{%f0,%f1,%f2,%f3};",
            "80",
            "7.0",
            ["75", "75", "75"],
            "6.5",
        ),
    ];
    for (instruction, target, version, lower, older) in rows {
        let parse = |target: &str, version: &str| {
            Module::parse(&format!(
                ".version {version}\n.target sm_{target}\n.address_size 64\n.visible .entry k() {{ .reg .b32 %r<8>; .reg .f32 %f<8>; \
                 .reg .b64 %rd<2>; .shared .align 16 .b8 s[64];\n{instruction}\nret; }}"
            ))
            .map(drop)
            .map_err(|error| error.to_string())
        };
        assert_eq!(parse(target, version), Ok(()), "{instruction}");
        for lower in lower {
            let said = parse(lower, "8.8").unwrap_err();
            assert!(said.contains(&format!("needs .target sm_{target}, not sm_{lower}")), "{instruction}: {said}");
        }
        let said = parse(target, older).unwrap_err();
        assert!(said.contains(&format!("needs .version {version}, not {older}")), "{instruction}: {said}");
    }
}
