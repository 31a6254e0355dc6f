//! Curves of several samplers on a terminal: one letter each.

use super::table;
use hpt_engine::compare::Curve;

const WIDTH: usize = 60;
/// Columns of the labels, with the line beside them.
const LABELS: usize = 12;
const HEIGHT: usize = 10;
/// Where more than one curve passes.
const SEVERAL: char = '*';

/// The means of the curves, with a legend; none where they are flat or short.
pub fn curves(curves: &[Curve]) -> Option<String> {
    let values = || curves.iter().flat_map(|curve| curve.mean.iter().copied()).filter(|value| value.is_finite());
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let points = curves.first().map_or(0, |curve| curve.mean.len());
    if points < 2 || low >= high {
        return None;
    }
    let width = most_columns().min(points);
    let mut cells = vec![vec![' '; width]; HEIGHT];
    for (curve, letter) in curves.iter().zip(letters()) {
        let points = (0..width).map(|column| (column, curve.mean[(column + 1) * points / width - 1]));
        for (column, value) in points.filter(|(_, value)| value.is_finite()) {
            let line = ((value - low) / (high - low) * (HEIGHT - 1) as f64).round() as usize;
            let cell = &mut cells[HEIGHT - 1 - line][column];
            *cell = if *cell == ' ' { letter } else { SEVERAL };
        }
    }
    let label = |line: usize| match line {
        0 => table::number(high),
        line if line == HEIGHT - 1 => table::number(low),
        _ => String::new(),
    };
    let row = |(line, cells): (usize, &Vec<char>)| {
        format!("{:>10} │{}", label(line), cells.iter().collect::<String>().trim_end())
    };
    let mut lines: Vec<String> = cells.iter().enumerate().map(row).collect();
    lines.push(format!("{:>10} └{}", "", "─".repeat(width)));
    let (first, last) = (curves[0].x[0], curves[0].x[points - 1]);
    let last = last.to_string();
    let first = first.to_string();
    lines.push(format!("{:>10}  {first}{last:>1$}", "", width.saturating_sub(first.len())));
    let legend: Vec<String> =
        curves.iter().zip(letters()).map(|(curve, letter)| format!("{letter} {}", curve.sampler)).collect();
    lines.push(format!("{:>10}  {}, {SEVERAL} several", "", legend.join(", ")));
    Some(lines.join("\n"))
}

/// Columns of a chart at most, beside its labels.
pub fn most_columns() -> usize {
    super::console::columns().map_or(WIDTH, |columns| columns.saturating_sub(LABELS).clamp(1, WIDTH))
}

/// a, b, c, …
fn letters() -> impl Iterator<Item = char> {
    ('a'..='z').chain('A'..='Z').cycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(sampler: &str, mean: &[f64]) -> Curve {
        let x = (1..=mean.len()).map(|x| x as f64).collect();
        let [q10, q25, median, q75, q90] = std::array::from_fn(|_| mean.to_vec());
        Curve { sampler: sampler.to_owned(), x, mean: mean.to_vec(), q10, q25, median, q75, q90 }
    }

    #[test]
    fn every_curve_has_its_letter() {
        let drawn = curves(&[curve("one", &[3.0, 2.0, 1.0]), curve("two", &[3.0, 3.0, 1.0])]).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 3);
        assert_eq!(lines[0], "    3.0000 │*b");
        assert_eq!(lines[HEIGHT - 1], "    1.0000 │  *");
        assert!(lines[4..6].contains(&"           │ a"), "{drawn}");
        assert_eq!(lines[HEIGHT + 1], "            1 3");
        assert_eq!(lines[HEIGHT + 2], "            a one, b two, * several");
    }

    #[test]
    fn flat_and_short_curves_are_not_drawn() {
        assert_eq!(curves(&[curve("one", &[1.0, 1.0])]), None);
        assert_eq!(curves(&[curve("one", &[1.0])]), None);
        assert_eq!(curves(&[]), None);
    }
}
