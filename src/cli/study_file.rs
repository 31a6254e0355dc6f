//! Study files: TOML that says what to search, where, and how.
//!
//! The keys are the command line's: of `[data]`, `[train]` and `[search]` each key is the flag of that name, so that
//! there is one set of names and one place that reads their values. Unknown keys are errors, with the line and column.
//! What `[space]` holds is read by [`Space::from_toml`].

use crate::cli::options::{DATA, Opt, Options, RUN, SEARCH};
use hpt_engine::settings::{SETTINGS, Settings, check_space, find};
use hpt_engine::space::{Expand, Space, Value, missed_ends};
use hpt_engine::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use toml::Value as Toml;
use toml::de::{DeTable, DeValue};

/// What a study file says.
#[derive(Debug)]
pub struct StudyFile {
    /// Options of data, devices and the search, with the metric.
    pub options: Options,
    /// The settings that do not vary.
    pub settings: Settings,
    space: Option<toml::Table>,
    text: Text,
}

/// The file's name and where its keys stand.
#[derive(Debug)]
struct Text {
    path: String,
    /// (line, column) of the value of `key` or `table.key`.
    places: HashMap<String, (usize, usize)>,
}

/// The keys beside the tables.
const TOP: [&str; 4] = ["study", "metric", "direction", "constraints"];
const TABLES: [&str; 4] = ["data", "train", "search", "space"];

impl StudyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It is missing, no TOML, or has an unknown key or one of the wrong kind; the message names line and column.
    pub fn read(path: &str) -> Result<Self> {
        let (mut table, text) = parse(path)?;
        let mut file = StudyFile { options: Options::default(), settings: Settings::default(), space: None, text };
        file.text.check_keys("", &table, TOP.into_iter().chain(TABLES))?;
        let top = |name: &str, table: &toml::Table| table.get(name).cloned();
        file.read_search(&file.text.table(&mut table, "search")?)?;
        file.read_train(&file.text.table(&mut table, "train")?)?;
        file.read_data(&file.text.table(&mut table, "data")?)?;
        // The flag is given once for each; a file has one list of them.
        for (key, name) in [("metric", "metric"), ("direction", "direction"), ("constraints", "constraint")] {
            if let Some(value) = top(key, &table) {
                file.offer(key, name, value);
            }
        }
        for name in file.options.list("direction")? {
            crate::cli::storage::direction(file.options.place("direction").unwrap_or("direction"), &name)?;
        }
        if let Some(study) = top("study", &table) {
            file.offer("study", "study", study);
        }
        if table.contains_key("space") {
            file.space = Some(file.text.table(&mut table, "space")?);
        }
        Ok(file)
    }

    /// The space of any file: its `[space]` table, or all of it where it has no tables of a study file. Notes say what
    /// else is in the file and has no say here.
    ///
    /// # Errors
    /// As [`StudyFile::read`]; there is no space in it, or one that is wrong.
    pub fn read_space(path: &str, expand: BTreeMap<String, Value>, note: &dyn Fn(&str)) -> Result<Space> {
        let (mut table, text) = parse(path)?;
        let space = match table.contains_key("space") {
            true => {
                text.check_keys("", &table, TOP.into_iter().chain(TABLES))?;
                let space = text.table(&mut table, "space")?;
                let named =
                    |(key, value): (&String, &Toml)| if value.is_table() { format!("[{key}]") } else { key.clone() };
                let others: Vec<String> = table.iter().map(named).collect();
                if !others.is_empty() {
                    let others = others.join(", ");
                    note(&format!(
                        "{path}: only its [space] is read; {others} count where `search {path}` names the file"
                    ));
                }
                space
            }
            false if table.keys().any(|key| TOP.contains(&key.as_str()) || TABLES.contains(&key.as_str())) => {
                return Err(Error::input(format!("{path}: has no [space] table")));
            }
            false => table,
        };
        text.space(&space, expand, note)
    }

    /// The space with any names, for a program outside; none where the file has no space. Notes say where a step misses
    /// the end of a range.
    ///
    /// # Errors
    /// What [`Space::from_toml`] refuses.
    pub fn free_space(&self, note: &dyn Fn(&str)) -> Result<Option<Space>> {
        self.space.as_ref().map(|table| self.text.space(table, BTreeMap::new(), note)).transpose()
    }

    /// The space, for a training with these settings (flags included): what a flag fixes does not vary. None where the
    /// file has no space. Notes say what a flag took out of it.
    ///
    /// # Errors
    /// What [`Space::from_toml`] refuses; a parameter that no training has; one that `[train]` fixes as well.
    pub fn space(&self, flags: &Settings, note: &dyn Fn(&str)) -> Result<Option<Space>> {
        let Some(table) = &self.space else { return Ok(None) };
        let mut table = table.clone();
        if let Some(name) = table.keys().find(|name| self.settings.get(name).is_some()) {
            let place = self.text.place(&format!("space.{name}"));
            return Err(Error::input(format!("{place}: `{name}` is in [train] too; give it in one of them")));
        }
        let widths = |name: &str| matches!(name, "layers" | "units") || name.starts_with("units_");
        let taken = |name: &str| flags.get(name).is_some() || (flags.get("hidden").is_some() && widths(name));
        for name in table.keys().filter(|name| taken(name)).cloned().collect::<Vec<_>>() {
            note(&format!("`{name}` does not vary: the command line fixes it"));
            table.remove(&name);
        }
        let all = self.settings.with(flags);
        let fixed = all.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let space = self.text.space(&table, fixed, note)?;
        let place = self.text.space_place();
        check_space(&place, &space).map_err(|error| self.text.locate(error))?;
        Ok(Some(space))
    }

    fn read_data(&mut self, table: &toml::Table) -> Result<()> {
        let known = DATA.iter().map(|opt| if opt.name == "data" { "path" } else { opt.name });
        self.text.check_keys("data", table, known)?;
        for (key, value) in table {
            let name = if key == "path" { "data" } else { key };
            let value = match value {
                Toml::String(path) if ["path", "test"].contains(&key.as_str()) => Toml::String(self.text.beside(path)),
                other => other.clone(),
            };
            self.offer(&format!("data.{key}"), name, value);
        }
        Ok(())
    }

    fn read_train(&mut self, table: &toml::Table) -> Result<()> {
        let others = RUN.iter().map(|opt| opt.name).chain(["out"]);
        let unknown = |key: &&String| find(key).is_none() && !others.clone().any(|name| name == *key);
        if let Some(key) = table.keys().find(unknown) {
            return Err(self.text.unknown("train", key, SETTINGS.iter().map(|s| s.name).chain(others)));
        }
        for (key, value) in table {
            let path = format!("train.{key}");
            match find(key) {
                Some(_) => self.settings.set(&self.text.place(&path), key, &self.text.scalar(&path, value)?)?,
                None => self.offer(&path, key, value.clone()),
            }
        }
        Ok(())
    }

    fn read_search(&mut self, table: &toml::Table) -> Result<()> {
        let names = || [SEARCH, RUN, DATA].into_iter().flatten().map(|opt: &Opt| opt.name);
        let unknown = |key: &&String| *key != "epochs" && !names().any(|name| name == *key);
        if let Some(key) = table.keys().find(unknown) {
            if find(key).is_some() {
                let place = self.text.place(&format!("search.{key}"));
                return Err(Error::input(format!("{place}: a fixed value belongs in [train], a range in [space]")));
            }
            return Err(self.text.unknown("search", key, names().chain(["epochs"])));
        }
        for (key, value) in table {
            let path = format!("search.{key}");
            match find(key) {
                Some(_) => self.settings.set(&self.text.place(&path), key, &self.text.scalar(&path, value)?)?,
                None => self.offer(&path, key, value.clone()),
            }
        }
        Ok(())
    }

    /// Sets an option unless a stronger table has set it.
    fn offer(&mut self, path: &str, name: &str, value: Toml) {
        if self.options.raw(name).is_none() {
            self.options.set(name, self.text.place(path), value);
        }
    }
}

/// The values of a file, and where they stand.
fn parse(path: &str) -> Result<(toml::Table, Text)> {
    let looks_like_data = [".csv", ".tsv", ".gz", ".npz"].iter().any(|end| path.to_lowercase().ends_with(end));
    if Path::new(path).is_dir() {
        let data = format!("data are named with --data {path}");
        return Err(Error::input(format!("{path}: is a directory, a study file (TOML) is expected here; {data}")));
    }
    if looks_like_data {
        return Err(Error::input(format!(
            "{path}: a study file (TOML) is expected here; data are named with --data {path}"
        )));
    }
    let bytes = std::fs::read(Path::new(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::input(format!("{path}: no such file; a TOML file is expected here")),
        _ => Error::io(path, error),
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| Error::input(format!("{path}: is no text; a study file is expected")))?;
    let failed = |error: toml::de::Error| {
        let (line, column) = error.span().map_or((1, 1), |span| position(&text, span.start));
        Error::input(format!("{path}:{line}:{column}: {}", error.message().trim_end().replace('\n', "; ")))
    };
    let spans = DeTable::parse(&text).map_err(failed)?;
    let mut places = HashMap::new();
    for (key, value) in spans.get_ref() {
        // For a table the place of its name, for anything else that of its value.
        let at = if value.get_ref().is_table() { key.span().start } else { value.span().start };
        places.insert(key.get_ref().to_string(), position(&text, at));
        let DeValue::Table(inner) = value.get_ref() else { continue };
        for (name, value) in inner {
            let at = position(&text, value.span().start);
            places.insert(format!("{}.{}", key.get_ref(), name.get_ref()), at);
            places.insert(format!("{}.{}:key", key.get_ref(), name.get_ref()), position(&text, name.span().start));
        }
    }
    let values: toml::Table = toml::from_str(&text).map_err(failed)?;
    Ok((values, Text { path: path.to_owned(), places }))
}

/// Line and column, from 1, of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

impl Text {
    /// A path that the file names: from the current folder, or from the file's own where only that one holds it.
    fn beside(&self, path: &str) -> String {
        let own = Path::new(&self.path).parent().map(|folder| folder.join(path));
        match own.filter(|own| !Path::new(path).exists() && own.exists()) {
            Some(own) => own.display().to_string(),
            None => path.to_owned(),
        }
    }

    /// `study.toml:4:10: [train] epochs` for `train.epochs`.
    fn place(&self, path: &str) -> String {
        let name = match path.split_once('.') {
            Some((table, key)) => format!("[{table}] {key}"),
            None => path.to_owned(),
        };
        match self.places.get(path) {
            Some((line, column)) => format!("{}:{line}:{column}: {name}", self.path),
            None => format!("{}: {name}", self.path),
        }
    }

    fn unknown<'a>(&self, table: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Error {
        let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}:key") };
        let (line, column) = self.places.get(&path).copied().unwrap_or((1, 1));
        let of = if table.is_empty() { "key".to_owned() } else { format!("[{table}] key") };
        Error::unknown(&format!("{}:{line}:{column}: {of}", self.path), key, known)
    }

    fn check_keys<'a>(
        &self,
        table: &str,
        keys: &toml::Table,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<()> {
        match keys.keys().find(|key| !known.clone().any(|name| name == *key)) {
            Some(key) => Err(self.unknown(table, key, known)),
            None => Ok(()),
        }
    }

    /// Takes a table out; an empty one where there is none.
    fn table(&self, from: &mut toml::Table, name: &str) -> Result<toml::Table> {
        match from.remove(name) {
            None => Ok(toml::Table::new()),
            Some(Toml::Table(table)) => Ok(table),
            Some(other) => {
                Err(Error::input(format!("{} is `{other}`; a table [{name}] is expected", self.place(name))))
            }
        }
    }

    /// A setting's value; a list of widths becomes text as on the command line.
    fn scalar(&self, path: &str, value: &Toml) -> Result<Value> {
        match value {
            Toml::Boolean(value) => Ok(Value::Bool(*value)),
            Toml::Integer(value) => Ok(Value::Int(*value)),
            Toml::Float(value) => Ok(Value::Float(*value)),
            Toml::String(value) => Ok(Value::Text(value.clone())),
            Toml::Array(list) if list.iter().all(Toml::is_integer) => {
                Ok(Value::Text(list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
            }
            Toml::Table(_) => {
                let place = self.place(path);
                Err(Error::input(format!("{place} is a table; one value is expected (a range belongs in [space])")))
            }
            other => Err(Error::input(format!("{} is `{other}`; one value is expected", self.place(path)))),
        }
    }

    fn space_place(&self) -> String {
        format!("{}: [space]", self.path)
    }

    fn space(&self, table: &toml::Table, fixed: BTreeMap<String, Value>, note: &dyn Fn(&str)) -> Result<Space> {
        let expand = Expand { place: self.space_place(), fixed };
        let space = Space::from_toml(table, &expand).map_err(|error| self.locate(error))?;
        for end in missed_ends(table) {
            // A space without a table of that name stands at the top of its file.
            let place = Some(self.place(&format!("space.{}", end.name))).filter(|_| self.places.contains_key("space"));
            let place = place.unwrap_or_else(|| self.place(&end.name));
            note(&format!("{place}: the step misses {}; the last value is {}", end.high, end.last));
        }
        Ok(space)
    }

    /// Adds line and column to a message about a parameter of the space.
    fn locate(&self, error: Error) -> Error {
        let place = self.space_place();
        let text = error.to_string();
        let Some(rest) = text.strip_prefix(&place) else { return error };
        let word: String = rest
            .trim_start_matches([' ', ':', '`'])
            .chars()
            .take_while(|c| c.is_alphanumeric() || "_-".contains(*c))
            .collect();
        // `units_1` stands in the file as `units`, with `each`.
        let base = word.rsplit_once('_').map_or(word.as_str(), |(base, _)| base);
        let found = [word.as_str(), base].into_iter().find_map(|name| {
            self.places
                .get(&format!("space.{name}:key"))
                .or_else(|| self.places.get(name).filter(|_| !TABLES.contains(&name)))
        });
        match found {
            Some((line, column)) => Error::input(format!("{}:{line}:{column}: [space]{rest}", self.path)),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a file with this text.
    fn error(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let read = StudyFile::read(&path).and_then(|file| file.space(&Settings::default(), &|_| ()).map(drop));
        read.unwrap_err().to_string().replace(&path, "study.toml")
    }

    #[test]
    fn wrong_files_are_refused_with_line_and_column() {
        for (text, start) in [
            ("trails = 3", "study.toml:1:10: key: `trails` is not known"),
            (
                "[train]\nepochs = 5\nlerning_rate = 0.1",
                "study.toml:3:1: [train] key: `lerning_rate` is not known; did you mean `learning_rate`?",
            ),
            ("[search]\n trails = 5", "study.toml:2:2: [search] key: `trails` is not known; did you mean `trials`?"),
            ("[data]\nfile = \"x\"", "study.toml:2:1: [data] key: `file` is not known"),
            ("[train]\nepochs = 0", "study.toml:2:10: [train] epochs is `0`; a whole number from 1 on is expected"),
            ("[train]\nepochs = 5\nepochs = 6", "study.toml:3:1: duplicate key"),
            ("direction = \"up\"", "study.toml:1:13: direction: `up` is not known"),
            ("[space]\nlearning_rate = { log = [0.1, 0.01] }", "study.toml:2:1: [space] learning_rate: the range"),
            ("[space]\n\nlearning_rate = { log = [0, 0.01] }", "study.toml:3:1: [space] learning_rate"),
            (
                "[space]\nunitz = { int = [1, 2] }",
                "study.toml:2:1: [space]: `unitz` is not known; did you mean `units`?",
            ),
            (
                "[train]\nepochs = 5\n[space]\nepochs = { int = [1, 2] }",
                "study.toml:4:10: [space] epochs: `epochs` is in [train] too",
            ),
            (
                "[search]\nlearning_rate = 3",
                "study.toml:2:17: [search] learning_rate: a fixed value belongs in [train]",
            ),
            ("[train", "study.toml:1:7: "),
        ] {
            let found = error(text);
            assert!(found.starts_with(start), "{text:?}\n  found: {found}\n  expected: {start}");
        }
    }
}
