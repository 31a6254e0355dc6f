//! The roofline plot (Williams, Waterman and Patterson, 2009): what was reached against what a byte allows.
//!
//! A self-contained SVG: the limits of one core as lines, every measurement as a numbered mark, and below them the list
//! that the numbers stand for. Both axes are logarithmic; a disc on a roof cannot be faster. The roof of a diamond is
//! the peak of bf16 over the products of bf16 that stand for one of its own.

use super::{Roofs, Units};
use std::fmt::Write;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// What was measured.
    pub name: String,
    /// A group of marks of one colour: `product`, `step`, `pass`, `evaluation`, or a precision below `highest`.
    pub group: &'static str,
    /// Floating-point operations a byte that must be moved.
    pub intensity: f64,
    /// 10⁹ operations a second of one thread.
    pub gflops: f64,
    /// How it multiplies.
    pub units: Units,
}

impl Mark {
    /// 10⁹ operations a second that L1 and the peak of its units allow, where that is known.
    fn limit(&self, roofs: &Roofs) -> Option<f64> {
        let peak = self.units.peak(|| roofs.peak_gflops, || roofs.bf16_peak_gflops)?;
        Some(peak.min(self.intensity * roofs.l1_gbytes))
    }
}

/// Width and height of the plot, in SVG's units.
const PLOT: (f64, f64) = (1140.0, 800.0);
const MARGIN: f64 = 60.0;
/// Columns of the list, and the height of a line of it.
const COLUMNS: usize = 3;
const LINE: f64 = 14.0;
/// Half the size of a mark.
const RADIUS: f64 = 4.0;

/// Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
const GROUPS: &[(&str, &str)] = &[
    ("product", "#0072b2"),
    ("step", "#d55e00"),
    ("pass", "#009e73"),
    ("evaluation", "#56b4e9"),
    ("high", "#cc79a7"),
    ("medium", "#000000"),
];

fn colour(group: &str) -> &'static str {
    GROUPS.iter().find(|row| row.0 == group).map_or("#000000", |row| row.1)
}

/// Powers of ten that an axis spans.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// From the power of ten below the least value to the one above the largest.
    fn around(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values.fold(0.0, f64::max).log10().ceil();
        Axis { low, high: high.max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The plot of measurements on one thread under the roofs of `title`'s machine. Marks without a positive, finite place
/// are left out of it, and named under the list.
pub fn svg(title: &str, roofs: &Roofs, marks: &[Mark]) -> String {
    let seen = |x: f64| x.is_finite() && x > 0.0;
    let (marks, others): (Vec<&Mark>, Vec<&Mark>) =
        marks.iter().partition(|mark| seen(mark.intensity) && seen(mark.gflops));
    let lines = marks.len().div_ceil(COLUMNS);
    let list = PLOT.1 + 20.0;
    let height = list + LINE * (lines + 4) as f64;
    let ridge = highest(roofs) / roofs.memory_gbytes;
    let x = Axis::around(marks.iter().map(|mark| mark.intensity).chain([ridge, 0.1]), MARGIN, PLOT.0 - 20.0);
    let rates = marks.iter().map(|mark| mark.gflops).chain(peaks(roofs).map(|peak| peak.1));
    let y = Axis::around(rates.chain([10.0]), PLOT.1 - MARGIN, 80.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"26\" font-size=\"16\">{}</text>\n",
        PLOT.0,
        escape(title)
    );
    axes(&mut out, &x, &y);
    legend(&mut out, &marks);
    roof_lines(&mut out, roofs, &x, &y);
    let places: Vec<(f64, f64)> = marks.iter().map(|mark| (x.at(mark.intensity), y.at(mark.gflops))).collect();
    let labels = labels(&places, &x, &y);
    for (i, (mark, (place, label))) in marks.iter().zip(places.into_iter().zip(labels)).enumerate() {
        draw(&mut out, mark, i + 1, place, label);
    }
    let width = (PLOT.0 - 20.0) / COLUMNS as f64;
    put(&mut out, 10.0, list, "start", "#000000", "Number, name, GFLOP/s, and share of what L1 and the peak allow");
    for (i, mark) in marks.iter().enumerate() {
        let (left, at) = (10.0 + width * (i / lines) as f64, list + LINE * (i % lines + 1) as f64);
        let share = mark.limit(roofs).map_or("–".to_owned(), |limit| format!("{:.0} %", 100.0 * mark.gflops / limit));
        put(&mut out, left + 22.0, at, "end", colour(mark.group), &(i + 1).to_string());
        put(&mut out, left + 28.0, at, "start", "#000000", &mark.name);
        put(&mut out, left + width - 45.0, at, "end", "#000000", &format!("{:.1}", mark.gflops));
        put(&mut out, left + width - 12.0, at, "end", "#000000", &share);
    }
    if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(|mark| mark.name.as_str()).collect();
        let text = format!("Without arithmetic, so without a place above: {}", names.join(", "));
        put(&mut out, 10.0, list + LINE * (lines + 2) as f64, "start", "#000000", &text);
    }
    out.push_str("</svg>\n");
    out
}

/// A mark, its number, and a line between the two where they are apart.
fn draw(out: &mut String, mark: &Mark, number: usize, (x, y): (f64, f64), label: (f64, f64)) {
    let (colour, r) = (colour(mark.group), RADIUS);
    if (label.0 - x).hypot(label.1 - y) > 3.0 * RADIUS {
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"0.5\"/>",
            label.0, label.1
        );
    }
    let (element, place) = if mark.units.by_bf16() {
        let (left, right, top, bottom) = (x - r, x + r, y - r, y + r);
        ("path", format!("d=\"M{left:.1} {y:.1}L{x:.1} {top:.1}L{right:.1} {y:.1}L{x:.1} {bottom:.1}Z\""))
    } else {
        ("circle", format!("cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\""))
    };
    let _ = writeln!(
        out,
        "<{element} {place} fill=\"{colour}\" fill-opacity=\"0.85\"><title>{}: {:.1} GFLOP/s at {:.2} operations a \
         byte</title></{element}>\n<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\" fill=\"{colour}\" text-anchor=\"middle\" \
         class=\"number\">{number}</text>",
        escape(&mark.name),
        mark.gflops,
        mark.intensity,
        label.0,
        label.1 + 3.0
    );
}

/// Half the width and half the height of a number of three digits.
const NUMBER: (f64, f64) = (7.5, 4.5);

/// Centres of the numbers of marks at these places: each as near to its mark as neither a mark nor another number is.
fn labels(marks: &[(f64, f64)], x: &Axis, y: &Axis) -> Vec<(f64, f64)> {
    let mut taken: Vec<(f64, f64)> = Vec::with_capacity(marks.len());
    for &(cx, cy) in marks {
        let around = (2..30).flat_map(|ring| {
            let radius = 4.0 * f64::from(ring);
            (0..24).map(move |turn| {
                let angle = f64::from(turn) * std::f64::consts::TAU / 24.0 - 0.8;
                (cx + radius * angle.cos(), cy + radius * angle.sin())
            })
        });
        let apart = |(x, y): (f64, f64), other: &(f64, f64), size: (f64, f64)| {
            (x - other.0).abs() >= size.0 || (y - other.1).abs() >= size.1
        };
        let free = |&place: &(f64, f64)| {
            let within = (x.from..=x.to).contains(&place.0) && (y.to..=y.from).contains(&place.1);
            let (wide, high) = NUMBER;
            within
                && marks.iter().all(|mark| apart(place, mark, (wide + RADIUS, high + RADIUS)))
                && taken.iter().all(|other| apart(place, other, (2.0 * wide, 2.0 * high)))
        };
        taken.push(around.clone().find(free).unwrap_or((cx, cy)));
    }
    taken
}

fn put(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escape(text)
    );
}

/// Ticks, grid and names of the axes.
fn axes(out: &mut String, x: &Axis, y: &Axis) {
    let line = |out: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)| {
        let _ = writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>");
    };
    for tick in x.ticks() {
        line(out, (x.at(tick), y.from), (x.at(tick), y.to));
        put(out, x.at(tick), y.from + 18.0, "middle", "#000000", &tick.to_string());
    }
    for tick in y.ticks() {
        line(out, (x.from, y.at(tick)), (x.to, y.at(tick)));
        put(out, x.from - 8.0, y.at(tick) + 4.0, "end", "#000000", &tick.to_string());
    }
    put(out, (x.from + x.to) / 2.0, y.from + 38.0, "middle", "#000000", "floating-point operations a byte");
    put(out, 8.0, y.to - 12.0, "start", "#000000", "GFLOP/s, one thread");
}

/// The colours of the groups that there are, and what a diamond is.
fn legend(out: &mut String, marks: &[&Mark]) {
    let mut at = MARGIN;
    for (group, colour) in GROUPS.iter().filter(|group| marks.iter().any(|mark| mark.group == group.0)) {
        put(out, at, 46.0, "start", colour, &format!("● {group}"));
        at += 90.0;
    }
    if marks.iter().any(|mark| mark.units.by_bf16()) {
        let text = "◆ by products of bf16: several stand for one above medium, and share their peak";
        put(out, at, 46.0, "start", "#000000", text);
    }
}

/// Names and heights of the roofs that units have.
fn peaks(roofs: &Roofs) -> impl Iterator<Item = (&'static str, f64)> + Clone {
    let bf16 = roofs.bf16_peak_gflops.map(|peak| ("peak of bf16", peak));
    [("FMA peak", roofs.peak_gflops)].into_iter().chain(bf16)
}

fn highest(roofs: &Roofs) -> f64 {
    peaks(roofs).map(|peak| peak.1).fold(0.0, f64::max)
}

/// The roofs: what bandwidth gives, up to the peaks. Names stand along the lines at their low ends, where no mark is.
fn roof_lines(out: &mut String, roofs: &Roofs, x: &Axis, y: &Axis) {
    let low = 10f64.powf(x.low);
    let highest = highest(roofs);
    let line = |out: &mut String, from: (f64, f64), to: (f64, f64)| {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#555555\" \
             stroke-width=\"1.5\"/>"
        );
    };
    for (name, gbytes) in [("L1", roofs.l1_gbytes), ("L2", roofs.l2_gbytes), ("memory", roofs.memory_gbytes)] {
        // From the left edge, or from where the line enters the plot from below.
        let start = low.max(10f64.powf(y.low) / gbytes);
        let (from, to) = ((x.at(start), y.at(start * gbytes)), (x.at(highest / gbytes), y.at(highest)));
        line(out, from, to);
        let _ = writeln!(
            out,
            "<text transform=\"translate({:.1} {:.1}) rotate({:.1})\" x=\"10\" y=\"-5\" fill=\"#555555\">{name} \
             {gbytes:.0} GB/s</text>",
            from.0,
            from.1,
            (to.1 - from.1).atan2(to.0 - from.0).to_degrees()
        );
    }
    let widest = roofs.l1_gbytes.max(roofs.l2_gbytes).max(roofs.memory_gbytes);
    for (name, peak) in peaks(roofs) {
        let at = y.at(peak);
        line(out, (x.at(peak / widest), at), (x.to, at));
        put(out, x.to, at - 6.0, "end", "#555555", &format!("{name} {peak:.0} GFLOP/s"));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOFS: Roofs =
        Roofs { peak_gflops: 200.0, bf16_peak_gflops: None, l1_gbytes: 400.0, l2_gbytes: 200.0, memory_gbytes: 20.0 };

    fn mark(name: &str, intensity: f64, gflops: f64) -> Mark {
        Mark { name: name.to_owned(), group: "product", intensity, gflops, units: Units::F32 }
    }

    #[test]
    fn every_mark_has_a_circle_and_a_line_of_the_list() {
        let text = svg("a <machine>", &ROOFS, &[mark("first", 0.5, 10.0), mark("second & last", 64.0, 150.0)]);
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(text.contains("a &lt;machine&gt;") && text.contains("second &amp; last"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn a_mark_without_a_place_is_left_out() {
        let text = svg("m", &ROOFS, &[mark("none", f64::NAN, 1.0), mark("zero", 1.0, 0.0)]);
        assert_eq!(text.matches("<circle").count(), 0);
        assert!(text.contains("without a place above: none, zero"), "{text}");
    }

    #[test]
    fn products_of_bf16_are_diamonds_under_a_roof_of_their_own() {
        let high = Units { f32: 0.0, bf16: 3.0 };
        let tiles = Mark { group: "high", units: high, ..mark("by tiles", 64.0, 400.0) };
        let roofs = Roofs { bf16_peak_gflops: Some(2400.0), ..ROOFS };
        let text = svg("m", &roofs, &[mark("by f32", 64.0, 150.0), tiles.clone()]);
        assert_eq!((text.matches("<circle").count(), text.matches("<path").count()), (1, 1), "{text}");
        assert!(text.contains(">75 %<") && text.contains(">50 %<"), "{text}");
        assert!(text.contains("● high") && text.contains("◆ by products of bf16"), "{text}");
        assert!(text.contains("peak of bf16 2400 GFLOP/s"), "{text}");
        // Emulated, there is no peak to compare with.
        let text = svg("m", &ROOFS, &[tiles]);
        assert!(text.contains(">–<") && !text.contains("peak of bf16"), "{text}");
        let plain = svg("m", &ROOFS, &[mark("by f32", 64.0, 150.0)]);
        assert!(!plain.contains("● high") && !plain.contains("◆"), "{plain}");
    }

    #[test]
    fn numbers_of_marks_in_one_place_stand_apart() {
        // As crowded as a plot of all products, passes and steps.
        let marks: Vec<Mark> = (0..200).map(|i| mark("m", 0.5 + f64::from(i % 40), 90.0 + f64::from(i / 40))).collect();
        let text = svg("m", &ROOFS, &marks);
        let number = |line: &str, key: &str| -> f64 {
            let from = line.split(key).nth(1).expect("the attribute is there");
            from.split('"').next().expect("it ends").parse().expect("it is a number")
        };
        let numbers: Vec<(f64, f64)> = text
            .lines()
            .filter(|line| line.contains("class=\"number\""))
            .map(|line| (number(line, " x=\""), number(line, " y=\"")))
            .collect();
        assert_eq!(numbers.len(), 200);
        for (i, a) in numbers.iter().enumerate() {
            for b in &numbers[..i] {
                assert!((a.0 - b.0).abs() > 14.8 || (a.1 - b.1).abs() > 8.8, "{a:?} upon {b:?}");
            }
        }
    }

    #[test]
    fn axes_are_logarithmic() {
        let axis = Axis::around([0.2, 30.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.low, axis.high), (-1.0, 2.0));
        assert!((axis.at(1.0) - 100.0).abs() < 1e-9 && (axis.at(100.0) - 300.0).abs() < 1e-9);
    }
}
