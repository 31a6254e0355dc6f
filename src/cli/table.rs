//! Numbers, times and tables as people read them.

use super::console::columns;
use hpt_engine::data::Task;
use hpt_engine::train::{Metric, Scores};

/// The fewest columns in which text is wrapped; in fewer it would be a list of words.
const LEAST: usize = 20;

/// A table for standard output: columns of text under a header, where the terminal is wide enough; else each row is a
/// block of its own, `name  value` line by line (as psql's expanded display does by itself).
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    fitted(columns(), header, rows)
}

/// A table whose records are its columns: where the terminal is too narrow, each column is a block.
pub fn turned(header: &[&str], rows: &[Vec<String>]) -> String {
    let text = grid(header, rows);
    if fits(columns(), &text) {
        return text;
    }
    let names: Vec<&str> = std::iter::once("").chain(rows.iter().map(|row| row[0].as_str())).collect();
    let record =
        |at: usize| std::iter::once(header[at].to_owned()).chain(rows.iter().map(|row| row[at].clone())).collect();
    blocks(columns(), &names, &(1..header.len()).map(record).collect::<Vec<_>>(), &[])
}

fn fitted(columns: Option<usize>, header: &[&str], rows: &[Vec<String>]) -> String {
    let text = grid(header, rows);
    if fits(columns, &text) { text } else { blocks(columns, header, rows, &[]) }
}

/// Characters of the longest line.
pub fn width(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn fits(columns: Option<usize>, text: &str) -> bool {
    columns.is_none_or(|columns| width(text) <= columns)
}

/// Columns of text under a header, two spaces between: the first and columns of words to the left, numbers to the
/// right.
pub fn grid(header: &[&str], rows: &[Vec<String>]) -> String {
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
            let left = i == 0 || ["state", "model"].contains(&header[i]) || words;
            if left { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let names: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let lines: Vec<String> = std::iter::once(line(&names)).chain(rows.iter().map(|row| line(row))).collect();
    lines.join("\n")
}

/// Each row as a block: its first cell under that column's name, then a line for every other cell that is not empty,
/// and its note at the end.
fn blocks(columns: Option<usize>, header: &[&str], rows: &[Vec<String>], notes: &[String]) -> String {
    let names = header.iter().skip(1).map(|name| name.chars().count()).max().unwrap_or(0);
    let within = |indent: usize, text: &str| match columns {
        Some(columns) => wrapped(text, columns.saturating_sub(indent)),
        None => vec![text.to_owned()],
    };
    // Where there is no room beside the names, values stand under them.
    let beside = columns.is_none_or(|columns| columns >= names + 4 + LEAST / 2);
    let mut lines = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        lines.push(format!("{} {}", header[0], row[0]).trim().to_owned());
        for (name, cell) in header.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            if !beside {
                lines.push(format!("  {name}"));
                lines.extend(within(4, cell).into_iter().map(|text| format!("    {text}")));
                continue;
            }
            for (part, text) in within(names + 4, cell).into_iter().enumerate() {
                let name = if part == 0 { name } else { "" };
                lines.push(format!("  {name}{}  {text}", " ".repeat(names - name.chars().count())));
            }
        }
        let note = notes.get(i).map_or("", String::as_str);
        lines.extend(note.lines().flat_map(|line| within(2, line)).map(|text| format!("  {text}")));
    }
    lines.join("\n")
}

/// A table within so many columns: the last column, words, goes on in further lines under itself. Under a row stands
/// its note, where there is one, in lines of its own. Where hardly anything is left for words, each row is a block.
pub fn table_with_notes(columns: Option<usize>, header: &[&str], rows: &[Vec<String>], notes: &[String]) -> String {
    let Some(last) = header.len().checked_sub(1) else { return String::new() };
    let short: Vec<Vec<String>> = rows.iter().map(|row| row.iter().take(last).cloned().collect()).collect();
    let before = width(&grid(&header[..last], &short)) + 2;
    let room = columns.and_then(|columns| columns.checked_sub(before)).filter(|room| *room >= LEAST);
    if room.is_none() && !fits(columns, &grid(header, rows)) {
        return blocks(columns, header, rows, notes);
    }
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
    let table = grid(header, &lines);
    let mut lines = table.lines();
    let mut out: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    // Under the second column.
    let indent =
        rows.iter().map(|row| row[0].chars().count()).chain([header[0].chars().count()]).max().unwrap_or(0) + 2;
    let of_note = columns.and_then(|columns| columns.checked_sub(indent)).filter(|room| *room >= LEAST);
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
        for columns in [None, Some(80)] {
            assert_eq!(within(columns), grid(&["n", "parameters"], &rows));
        }
        // Where there is no room for that, what is too wide is a block.
        assert_eq!(within(Some(22)), "n 1\n  parameters\n    a=1\n    b=22222222222222\n    c=3 d=4");
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
        assert_eq!(grid(&["", "x"], &rows), "         x\na      1.5\nlong  22.5");
    }

    #[test]
    fn on_a_narrow_terminal_each_row_is_a_block() {
        let cells = |row: [&str; 4]| row.map(str::to_owned).to_vec();
        let rows = [cells(["0", "complete", "0.9", "rate=0.01 units=64"]), cells(["1", "failed", "", "rate=0.1"])];
        let notes = [String::new(), "exit code 3: a long story of what went wrong there".to_owned()];
        let header = ["trial", "state", "value", "parameters"];
        let narrow = |columns| table_with_notes(Some(columns), &header, &rows, &notes);
        let expected = "trial 0\n  state       complete\n  value       0.9\n  parameters  rate=0.01 units=64\n\
                        trial 1\n  state       failed\n  parameters  rate=0.1\n  exit code 3: a long story of what\n  went wrong there";
        assert_eq!(narrow(36), expected);
        for columns in 14..=120 {
            assert!(width(&narrow(columns)) <= columns, "{columns}: {}", narrow(columns));
            assert_eq!(narrow(columns).starts_with("trial  state"), columns >= 42, "{columns}: {}", narrow(columns));
        }
        assert_eq!(fitted(Some(36), &header, &rows), blocks(Some(36), &header, &rows, &[]));
        assert_eq!(fitted(None, &header, &rows), grid(&header, &rows));
    }
}
