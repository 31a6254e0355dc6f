//! A of bytes: the bits of its products, what does not fit, and its packing.

use super::*;

/// Bytes are numbers of one term: their products have the bits of f32 operands of the same whole numbers, whose further
/// terms are zeros, and are then multiplied by the scale.
#[test]
fn bytes_have_the_bits_of_whole_numbers() {
    const SCALE: f32 = 1.0 / 255.0;
    for (isa, method) in units() {
        for (m, k, n) in [(1, 1, 1), (5, 31, 17), (17, 33, 31), (33, 290, 65), (150, 64, 40), (48, 2_100, 70)] {
            let byte = |i: usize, p: usize| (i * 89 + p * 57 + i * p) as u8;
            let (by_rows, by_columns): (Vec<u8>, Vec<u8>) = (
                (0..m * k).map(|at| byte(at / k, at % k)).collect(),
                (0..m * k).map(|at| byte(at % m, at / m)).collect(),
            );
            let apart: Vec<u8> = by_rows.iter().flat_map(|&byte| [byte, 255]).collect();
            let a = Stored::new(Layout::Rows, m, k, |i, p| f32::from(byte(i, p)));
            let b = Stored::new(Layout::WideRows, k, n, noise(2));
            let turned = panels(isa, b.view().t());
            let whole =
                multiply((isa, method), &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let expected: Vec<f32> = whole.iter().map(|x| x * SCALE).collect();
            for (what, bytes) in [
                ("by rows", Matrix::row_major(&by_rows, m, k)),
                ("by columns", Matrix::row_major(&by_columns, k, m).t()),
                ("apart", Matrix::new(&apart, m, k, 2 * k, 2)),
            ] {
                let (left, name) = (Left::Bytes(bytes, SCALE), format!("{} {method:?} {m}×{k}×{n} {what}", isa.name()));
                for rights in [Right::Strided(b.view()), Right::Transposed(Packed::new(isa, &turned, n, k))] {
                    let mut c = Stored::new(Layout::Rows, m, n, |_, _| f32::NAN);
                    for rows in [0..m / 3, m / 3..m] {
                        let (a, c) = (left.block(rows.clone()), c.view_mut().block(rows, 0..n));
                        let args = Gemm { a, b: rights, c, beta: Beta::Zero, epilogue: Epilogue::None };
                        gemm_by(isa, method, args, &mut Scratch::default());
                    }
                    assert_eq!(bits(&c.take()), bits(&expected), "{name}");
                    assert_eq!(bits(&by_parts(isa, method, left, rights)), bits(&expected), "{name} by parts");
                }
                for layout in [Layout::Columns, Layout::Scattered] {
                    let mut c = Stored::new(layout, m, n, noise(3));
                    let (b, sums) = (Right::Strided(b.view()), |(at, x): (usize, &f32)| noise(3)(at / n, at % n) + x);
                    let args = Gemm { a: left, b, c: c.view_mut(), beta: Beta::One, epilogue: Epilogue::None };
                    gemm_by(isa, method, args, &mut Scratch::default());
                    let sums: Vec<f32> = expected.iter().enumerate().map(sums).collect();
                    assert_eq!(bits(&c.take()), bits(&sums), "{name} into {layout:?}");
                }
            }
        }
    }
}

/// Where a sum does not fit, f32 computes the element, of the numbers that the bytes stand for.
#[test]
fn bytes_by_what_does_not_fit_are_f32() {
    for (isa, method) in units() {
        let (m, k, n) = (19, 70, 40);
        let bytes: Vec<u8> = (0..m * k).map(|i| (i % 251) as u8).collect();
        let special = |p: usize, j: usize| match (p, j) {
            (_, 3) => 3e38,
            (9, 7) => f32::INFINITY,
            (60, 33) => f32::NAN,
            _ => noise(2)(p, j),
        };
        let b = Stored::new(Layout::Rows, k, n, special);
        let numbers = Stored::new(Layout::Rows, m, k, |i, p| f32::from(bytes[i * k + p]) * 0.1);
        let run = |method: Method, beta: Beta, a: Left| {
            let mut c = Stored::new(Layout::Rows, m, n, noise(5));
            let (b, c_view) = (Right::Strided(b.view()), c.view_mut());
            gemm_by(isa, method, Gemm { a, b, c: c_view, beta, epilogue: Epilogue::None }, &mut Scratch::default());
            let c = c.take();
            if beta == Beta::Zero {
                assert_eq!(bits(&by_parts(isa, method, a, b)), bits(&c), "{} {method:?} by parts", isa.name());
            }
            c
        };
        let both = [Beta::Zero, Beta::One].map(|beta| {
            let f32 = run(Method::F32, beta, numbers.view().into());
            (run(method, beta, Left::Bytes(Matrix::row_major(&bytes, m, k), 0.1)), f32)
        });
        for (at, (x, same)) in both.iter().flat_map(|(c, f32)| c.iter().zip(f32)).enumerate() {
            let equal = x.to_bits() == same.to_bits() || (x.is_nan() && same.is_nan());
            let near = (x - same).abs() <= 0.02 * 25.0 * k as f32;
            assert!(
                if [3, 7, 33].contains(&(at % n)) { equal } else { near },
                "{} {method:?} {at}: {x} {same}",
                isa.name()
            );
        }
    }
}

#[test]
#[should_panic(expected = "bytes are for products of bf16 terms")]
fn chains_take_no_bytes() {
    let (bytes, b, mut c) = ([1u8; 4], [1.0; 4], [0.0; 4]);
    let (a, b) = (Left::Bytes(Matrix::row_major(&bytes, 2, 2), 1.0), Right::Strided(Matrix::row_major(&b, 2, 2)));
    let c = crate::matrix::MatrixMut::row_major(&mut c, 2, 2);
    let isa = Isa::by_name("portable").expect("every machine has it");
    gemm(isa, Gemm { a, b, c, beta: Beta::Zero, epilogue: Epilogue::None }, &mut Scratch::default());
}

/// Packing on every instruction set, of bytes that lie in a larger matrix.
#[test]
fn packing_of_bytes_matches_its_definition() {
    for isa in Isa::available() {
        for (first, lines, k) in
            [(0, 16, 64), (3, 16, 70), (16, 9, 32), (10, 15, 33), (4, 1, 31), (9, 16, 32), (24, 1, 96)]
        {
            let (rows, room) = (25, k + 7);
            let byte = |i: usize, p: usize| (i * 83 + p * 29) as u8;
            let by_rows: Vec<u8> = (0..rows * room).map(|at| byte(at / room, at % room)).collect();
            let by_columns: Vec<u8> = (0..rows * room).map(|at| byte(at % rows, at / rows)).collect();
            let apart: Vec<u8> = by_rows.iter().flat_map(|&byte| [byte, 255, 255]).collect();
            for from in [
                Matrix::row_major(&by_rows, rows, room),
                Matrix::row_major(&by_columns, room, rows).t(),
                Matrix::new(&apart, rows, room, 3 * room, 3),
            ] {
                let mut words = vec![u32::MAX; k.div_ceil(CHUNK) * 16 * WORDS];
                let from = from.block(0..rows, 0..k);
                isa.run(Bytes { from, lines, first, stored: 16, to: words.as_mut_ptr() });
                for (line, p) in (0..lines).flat_map(|line| (0..k.next_multiple_of(CHUNK)).map(move |p| (line, p))) {
                    let word = words[(p / CHUNK * 16 + line) * WORDS + p % WORDS];
                    let x = f32::from_bits(if p % CHUNK >= WORDS { word & 0xffff_0000 } else { word << 16 });
                    let expected = if p < k { f32::from(byte(first + line, p)) } else { 0.0 };
                    assert_eq!(x, expected, "{} {first} {lines}×{k} {from:?}: {line}, {p}", isa.name());
                }
            }
        }
    }
}
