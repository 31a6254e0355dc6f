//! Numbers, times and tables as people read them.

use hpt_engine::data::Task;
use hpt_engine::train::{Metric, Scores};

/// Columns of text under a header, two spaces between: the first and columns of words to the left, numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            // A trial's configuration is the last column; before it, `parameters` is a number.
            let words = i + 1 == header.len() && ["parameters", "configuration"].contains(&header[i]);
            let left = i == 0 || header[i] == "state" || words;
            if left { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let names: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<String> = std::iter::once(line(&names)).chain(rows.iter().map(|row| line(row))).collect();
    lines.join("\n")
}

/// The same within so many columns: the last column, words, goes on in further lines under itself. Under a row stands its note,
/// where there is one, in lines of its own.
pub fn table_with_notes(columns: Option<usize>, header: &[&str], rows: &[Vec<String>], notes: &[String]) -> String {
    let Some(last) = header.len().checked_sub(1) else { return String::new() };
    let short: Vec<Vec<String>> = rows.iter().map(|row| row.iter().take(last).cloned().collect()).collect();
    let before = table(&header[..last], &short).lines().map(|line| line.chars().count()).max().unwrap_or(0) + 2;
    // Where hardly anything is left, a long line is the lesser evil.
    let room = columns.and_then(|columns| columns.checked_sub(before)).filter(|room| *room >= 20);
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len());
    let mut of_rows = Vec::with_capacity(rows.len());
    for row in rows {
        let parts = room.map_or_else(|| vec![row[last].clone()], |room| wrapped(&row[last], room));
        of_rows.push(parts.len());
        for (i, part) in parts.into_iter().enumerate() {
            let cells = row[..last].iter().map(|cell| if i == 0 { cell.clone() } else { String::new() });
            lines.push(cells.chain([part]).collect());
        }
    }
    let table = table(header, &lines);
    let mut lines = table.lines();
    let mut out: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    // Under the second column.
    let indent =
        rows.iter().map(|row| row[0].chars().count()).chain([header[0].chars().count()]).max().unwrap_or(0) + 2;
    let of_note = columns.and_then(|columns| columns.checked_sub(indent)).filter(|room| *room >= 20);
    for (row, count) in of_rows.into_iter().enumerate() {
        out.extend(lines.by_ref().take(count).map(str::to_owned));
        let note = notes.get(row).map_or("", String::as_str);
        let parts =
            note.lines().flat_map(|line| of_note.map_or_else(|| vec![line.to_owned()], |room| wrapped(line, room)));
        out.extend(parts.map(|part| format!("{}{part}", " ".repeat(indent)).trim_end().to_owned()));
    }
    out.join("\n")
}

/// A text in lines of so many characters at most; a longer word has a line of its own.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !part.is_empty() && part.chars().count() + 1 + word.chars().count() > room {
            parts.push(std::mem::take(&mut part));
        }
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
    }
    parts.push(part);
    parts
}

/// A whole number with a comma after every three digits.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with about five digits that matter.
pub fn number(x: f64) -> String {
    let size = x.abs();
    if !x.is_finite() {
        return x.to_string();
    }
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 1e9 => format!("{x:.4e}"),
        _ if size >= 1000.0 => {
            let whole = count(size.round() as u64);
            if x < 0.0 { format!("-{whole}") } else { whole }
        }
        // A count, of parameters say.
        _ if (10.0..1000.0).contains(&size) && x.fract() == 0.0 => x.to_string(),
        _ if size >= 100.0 => format!("{x:.2}"),
        _ if size >= 1e-3 => format!("{x:.4}"),
        _ => format!("{x:.2e}"),
    }
}

/// A time: `0.52 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub fn seconds(s: f64) -> String {
    let whole = s.round() as u64;
    match s {
        _ if s < 10.0 => format!("{s:.2} s"),
        _ if s < 60.0 => format!("{s:.1} s"),
        _ if s < 3600.0 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The task in words.
pub fn task(task: &Task) -> String {
    match task {
        Task::Classification { classes } => format!("classification into {} classes", classes.len()),
        Task::MultiLabel { labels } => format!("multi-label classification, {} labels", labels.len()),
        Task::Regression { targets } if targets.len() == 1 => format!("regression of `{}`", targets[0]),
        Task::Regression { targets } => format!("regression of {} targets", targets.len()),
    }
}

/// What stands under metrics of a regression.
pub const OWN_UNITS: &str = "\nrmse and mae are in the units of the target";

/// One row of metrics for each set of rows.
pub fn scores(sets: &[(&str, &Scores)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in sets.iter().flat_map(|(_, scores)| scores.0.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let cell = |scores: &Scores, name: &str| scores.0.get(name).map_or(String::new(), |&value| number(value));
    let rows: Vec<Vec<String>> = sets
        .iter()
        .map(|(set, scores)| {
            std::iter::once((*set).to_owned()).chain(names.iter().map(|name| cell(scores, name))).collect()
        })
        .collect();
    let header: Vec<&str> = std::iter::once("").chain(names.iter().copied()).collect();
    let units = if names.contains(&"rmse") { OWN_UNITS } else { "" };
    format!("{}{units}", table(&header, &rows))
}

/// A metric's value with its name.
pub fn metric(metric: Metric, value: f64) -> String {
    format!("{} {}", metric.name(), number(value))
}

/// `1 thread`, `2 threads`.
pub fn plural(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A size: `48 KiB`, `32 MiB`, `3.7 GiB`.
pub fn bytes(n: u64) -> String {
    match n {
        _ if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        _ if n >= 1 << 20 => format!("{} MiB", n >> 20),
        _ => format!("{} KiB", n >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let expected = [
            (0.0, "0"),
            (0.98765, "0.9877"),
            (-12.345678, "-12.3457"),
            (123.456, "123.46"),
            (545.0, "545"),
            (-16.0, "-16"),
            (52_080.4, "52,080"),
            (-1234.5, "-1,235"),
            (3.2e-5, "3.20e-5"),
            (2.5e12, "2.5000e12"),
            (f64::NAN, "NaN"),
        ];
        for (x, text) in expected {
            assert_eq!(number(x), text);
        }
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 59.94, 61.0, 7385.0].map(seconds), ["0.50 s", "59.9 s", "1 min 01 s", "2 h 03 min"]);
        assert_eq!([512, 3 << 20, 3 << 29].map(bytes), ["0 KiB", "3 MiB", "1.5 GiB"]);
    }

    #[test]
    fn words_are_quoted_as_a_shell_needs() {
        assert_eq!(quoted("a/b-c_1.csv"), "a/b-c_1.csv");
        assert_eq!(quoted("my data.csv"), "'my data.csv'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_last_column_wraps_under_itself() {
        let rows = [vec!["1".to_owned(), "a=1 b=22222222222222 c=3 d=4".to_owned()]];
        let within = |columns| table_with_notes(columns, &["n", "parameters"], &rows, &[]);
        assert_eq!(within(Some(30)), "n  parameters\n1  a=1 b=22222222222222 c=3\n   d=4");
        for columns in [None, Some(10), Some(80)] {
            assert_eq!(within(columns), table(&["n", "parameters"], &rows));
        }
    }

    #[test]
    fn a_note_stands_under_its_row_and_loses_nothing() {
        let rows = [["1", "x=1"], ["22", "x=2"]].map(|row| row.map(str::to_owned).to_vec());
        let notes = [String::new(), "killed at the limit of the trial:\nno value".to_owned()];
        let within = |columns| table_with_notes(columns, &["n", "x"], &rows, &notes);
        let plain = "n     x\n1   x=1\n22  x=2\n    killed at the limit of the trial:\n    no value";
        assert_eq!((within(None).as_str(), within(Some(80)).as_str()), (plain, plain));
        assert_eq!(
            within(Some(26)),
            "n     x\n1   x=1\n22  x=2\n    killed at the limit of\n    the trial:\n    no value"
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1.5".to_owned()], vec!["long".to_owned(), "22.5".to_owned()]];
        assert_eq!(table(&["", "x"], &rows), "         x\na      1.5\nlong  22.5");
    }
}
