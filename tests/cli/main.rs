//! The program as users meet it: the real binary, in a fresh folder for each test.
//!
//! What is held here is the contract: exit codes, what stands on which stream, the keys of the JSON documents, the
//! columns of the CSV, and that bad input is answered in words. What the numbers are worth is tested elsewhere.

mod bad_input;
mod commands;
mod compare;
mod edits;
mod gpu;
mod importance;
mod interrupts;
mod memory;
mod outside;
mod populations;
mod precisions;
mod saved_models;
mod searches;
mod several;
mod words;

use serde_json::Value as Json;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A folder of its own for one test, gone with it.
struct Folder(tempfile::TempDir);

/// What a run of the program came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The program with these words, in this folder.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hpt-engine"));
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null()).env_remove("HPT_ISA");
        command
    }

    /// Runs it to its end; the words are separated by spaces.
    fn run(&self, words: &str) -> Ran {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn run_words(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    /// Starts it, to be watched.
    fn start(&self, words: &str) -> Child {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The JSON document that a successful run prints.
    #[track_caller]
    fn json(&self, words: &str) -> Json {
        self.run(words).json()
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It succeeded.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// Standard output is one JSON document.
    #[track_caller]
    fn json(self) -> Json {
        let ran = self.ok();
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
    }

    /// It failed with this code; the message has all of these parts, and is words for a user.
    #[track_caller]
    fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains("error: "), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not in: {}", self.err);
        }
        for word in ["panicked", "backtrace", "RUST_BACKTRACE", "defect", "Os {", "unwrap"] {
            assert!(!self.err.contains(word), "{}", self.err);
        }
        assert_eq!(self.out, "", "nothing on standard output");
        self
    }
}

/// The keys of an object, in its order.
#[track_caller]
fn keys(value: &Json) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

/// Two classes that can be told apart by `x`, with a text column; `rows` rows.
fn classes(rows: usize) -> String {
    let row = |i: usize| {
        let class = if i.is_multiple_of(2) { "no" } else { "yes" };
        let x = (i % 2) as f64 + (i * 7 % 10) as f64 / 20.0;
        format!("{x},{},{class}\n", ["red", "green", "blue"][i % 3])
    };
    std::iter::once("x,colour,answer\n".to_owned()).chain((0..rows).map(row)).collect()
}

/// A number that depends on the others.
fn numbers(rows: usize) -> String {
    let row = |i: usize| format!("{},{},{}\n", i % 13, i % 7, 1000.0 + 50.0 * (i % 13) as f64 - 3.5 * (i % 7) as f64);
    std::iter::once("a,b,price\n".to_owned()).chain((0..rows).map(row)).collect()
}

/// The trials of the only study of a storage.
#[track_caller]
fn trials(folder: &Folder, storage: &str) -> Vec<Json> {
    let document = folder.json(&format!("trials --json --storage {storage}"));
    document["trials"].as_array().unwrap().clone()
}

fn in_state<'a>(trials: &'a [Json], state: &str) -> Vec<&'a Json> {
    trials.iter().filter(|trial| trial["state"] == state).collect()
}
