//! The roofline plot (Williams, Waterman and Patterson, 2009): what was reached against what a byte allows.
//!
//! A self-contained SVG: the limits of one core as lines, every measurement as a numbered mark, and beside them the list
//! that the numbers stand for. Both axes are logarithmic; a mark on a roof cannot be faster.

use super::Roofs;
use std::fmt::Write;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// What was measured.
    pub name: String,
    /// A group of marks of one colour: `product`, `step`, `pass`.
    pub group: &'static str,
    /// Floating-point operations a byte that must be moved.
    pub intensity: f64,
    /// 10⁹ operations a second of one thread.
    pub gflops: f64,
}

/// Width and least height of the plot alone, and width of the list beside it, in SVG's units.
const PLOT: (f64, f64) = (760.0, 620.0);
const LIST: f64 = 400.0;
const MARGIN: f64 = 60.0;
const LINE: f64 = 15.0;

/// Colours that people with any colour vision tell apart (Okabe and Ito, 2008).
const GROUPS: &[(&str, &str)] = &[("product", "#0072b2"), ("step", "#d55e00"), ("pass", "#009e73")];

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
/// are left out.
pub fn svg(title: &str, roofs: &Roofs, marks: &[Mark]) -> String {
    let seen = |x: f64| x.is_finite() && x > 0.0;
    let marks: Vec<&Mark> = marks.iter().filter(|mark| seen(mark.intensity) && seen(mark.gflops)).collect();
    let ridge = roofs.peak_gflops / roofs.memory_gbytes;
    let height = PLOT.1.max(80.0 + LINE * (marks.len() + 1) as f64);
    let (left, right, top, bottom) = (MARGIN, PLOT.0 - 20.0, 50.0, height - MARGIN);
    let x = Axis::around(marks.iter().map(|mark| mark.intensity).chain([ridge, 0.1]), left, right);
    let y = Axis::around(marks.iter().map(|mark| mark.gflops).chain([roofs.peak_gflops, 10.0]), bottom, top);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{left}\" y=\"26\" font-size=\"16\">{}</text>\n",
        PLOT.0 + LIST,
        escape(title)
    );
    axes(&mut out, &x, &y);
    lines(&mut out, roofs, &x, &y);
    let list = PLOT.0 + 10.0;
    put(&mut out, list + 26.0, 50.0, "start", "#000000", "GFLOP/s, and share of what L1 and the peak allow");
    for (i, mark) in marks.iter().enumerate() {
        let colour = GROUPS.iter().find(|group| group.0 == mark.group).map_or("#000000", |group| group.1);
        let (cx, cy, number) = (x.at(mark.intensity), y.at(mark.gflops), i + 1);
        let share = 100.0 * mark.gflops / roofs.peak_gflops.min(mark.intensity * roofs.l1_gbytes);
        let label = escape(&mark.name);
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"7\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{label}: \
             {:.1} GFLOP/s at {:.2} operations a byte</title></circle>\n<text x=\"{cx:.1}\" y=\"{:.1}\" font-size=\"8\" \
             fill=\"#ffffff\" text-anchor=\"middle\">{number}</text>",
            mark.gflops,
            mark.intensity,
            cy + 3.0
        );
        let line = 50.0 + LINE * (i + 1) as f64;
        put(&mut out, list + 18.0, line, "end", colour, &number.to_string());
        put(&mut out, list + 26.0, line, "start", "#000000", &mark.name);
        put(&mut out, list + 330.0, line, "end", "#000000", &format!("{:.1}", mark.gflops));
        put(&mut out, list + 380.0, line, "end", "#000000", &format!("{share:.0} %"));
    }
    out.push_str("</svg>\n");
    out
}

fn put(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        escape(text)
    );
}

/// Ticks, grid and names of the axes, and the colours of the groups.
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
    put(out, 8.0, y.to - 8.0, "start", "#000000", "GFLOP/s, one thread");
    for (i, (group, colour)) in GROUPS.iter().enumerate() {
        put(out, x.to - 10.0, y.from - 10.0 - LINE * i as f64, "end", colour, &format!("{group} ●"));
    }
}

/// The roofs: what bandwidth gives, up to the peak.
fn lines(out: &mut String, roofs: &Roofs, x: &Axis, y: &Axis) {
    let peak = roofs.peak_gflops;
    let low = 10f64.powf(x.low);
    let levels = [("L1", roofs.l1_gbytes), ("L2", roofs.l2_gbytes), ("memory", roofs.memory_gbytes)];
    for (name, gbytes) in levels {
        // From the left edge, or from where the line enters the plot from below.
        let start = low.max(10f64.powf(y.low) / gbytes);
        let ridge = peak / gbytes;
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#555555\" stroke-width=\"1.5\"/>",
            x.at(start),
            y.at(start * gbytes),
            x.at(ridge),
            y.at(peak)
        );
        let label = format!("{name} {gbytes:.0} GB/s");
        let middle = (start * ridge).sqrt();
        put(out, x.at(middle) - 6.0, y.at(middle * gbytes) - 4.0, "end", "#555555", &label);
    }
    let ridge = levels.iter().map(|level| peak / level.1).fold(f64::INFINITY, f64::min);
    let (from, at) = (x.at(ridge), y.at(peak));
    let _ = writeln!(
        out,
        "<line x1=\"{from:.1}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#555555\" stroke-width=\"1.5\"/>",
        x.to
    );
    put(out, x.to, at - 6.0, "end", "#555555", &format!("peak {peak:.0} GFLOP/s"));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOFS: Roofs = Roofs { peak_gflops: 200.0, l1_gbytes: 400.0, l2_gbytes: 200.0, memory_gbytes: 20.0 };

    fn mark(name: &str, intensity: f64, gflops: f64) -> Mark {
        Mark { name: name.to_owned(), group: "product", intensity, gflops }
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
    }

    #[test]
    fn axes_are_logarithmic() {
        let axis = Axis::around([0.2, 30.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.low, axis.high), (-1.0, 2.0));
        assert!((axis.at(1.0) - 100.0).abs() < 1e-9 && (axis.at(100.0) - 300.0).abs() < 1e-9);
    }
}
