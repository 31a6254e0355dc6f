//! Bad input: each kind gets a message that names the place, exit code 2, and loses nothing.

use super::*;

/// `train` and `search` on this text fail with these words.
#[track_caller]
fn refused(text: &str, more: &str, parts: &[&str]) {
    let folder = Folder::new();
    folder.write("t.csv", text);
    folder.run(&format!("train --data t.csv {more}")).fails(2, parts);
    folder.run(&format!("search --data t.csv {more} --trials 2")).fails(2, parts);
    assert!(!folder.path("model.safetensors").exists());
}

#[test]
fn missing_file_and_directory() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("d")).unwrap();
    for verb in ["train", "search"] {
        folder.run(&format!("{verb} --data nowhere.csv")).fails(2, &["nowhere.csv", "no such file"]);
        folder.run(&format!("{verb} --data d")).fails(2, &["d: is a directory"]);
    }
    for verb in ["evaluate", "predict"] {
        folder.run(&format!("{verb} --model m.st --data digits")).fails(2, &["m.st", "no such file"]);
        folder.run(&format!("{verb} --model d --data digits")).fails(2, &["d: is a directory"]);
    }
    folder.run("search nowhere.toml").fails(2, &["nowhere.toml", "no such file"]);
    folder.run("search d").fails(2, &["d: is a directory"]);
    folder.run("trials --storage nowhere.db").fails(2, &["nowhere.db", "no such"]);
}

#[test]
fn empty_file_and_header_only() {
    refused("", "", &["t.csv", "empty"]);
    refused("a,b,c\n", "", &["t.csv", "header", "rows"]);
}

#[test]
fn ragged_row() {
    let text = classes(40).replacen("red,no\n", "red,no,extra\n", 1);
    refused(&text, "", &["t.csv:2", "4", "3"]);
}

#[test]
fn text_in_a_numeric_target() {
    let text = numbers(60) + "3,4,many\n";
    refused(&text, "--task regression", &["t.csv:62", "price", "many"]);
}

#[test]
fn missing_target_cell_and_unknown_target_column() {
    refused(&(classes(40) + "0.5,red,\n"), "", &["t.csv:42", "answer", "missing"]);
    refused(&classes(40), "--target anwser", &["t.csv", "`anwser`", "did you mean `answer`?"]);
}

#[test]
fn one_class_only() {
    refused("x,answer\n1,yes\n2,yes\n3,yes\n4,yes\n5,yes\n6,yes\n", "", &["t.csv", "answer", "one class"]);
}

#[test]
fn fewer_rows_than_a_split_needs() {
    refused("x,answer\n1,yes\n2,no\n", "", &["t.csv", "1 row", "3 parts"]);
}

#[test]
fn not_a_number_and_infinity() {
    // In a column of numbers NaN is a missing value; infinity is none.
    let folder = Folder::new();
    folder.write("t.csv", &(numbers(60) + "NaN,4,1200\n"));
    folder.run("train --data t.csv --task regression --epochs 1").ok();
    refused(&(numbers(60) + "inf,4,1200\n"), "--task regression", &["t.csv:62", "inf"]);
    refused(&(numbers(60) + "1,4,inf\n"), "--task regression", &["t.csv:62", "price", "inf"]);
    refused(&(numbers(60) + "1,4,nan\n"), "--task regression", &["t.csv:62", "price", "missing"]);
}

#[test]
fn study_files_with_unknown_keys_and_wrong_ranges() {
    let folder = Folder::new();
    for (text, parts) in [
        ("[train]\nlerning_rate = 0.1\n", ["s.toml:2:1: [train]", "did you mean `learning_rate`?"]),
        ("[serach]\ntrials = 1\n", ["s.toml:1:2: key: `serach`", "did you mean `search`?"]),
        ("[space]\nlearning_rate = { log = [0.1, 0.001] }\n", ["s.toml:2:1: [space] learning_rate", "inverted"]),
        ("[space]\nlearning_rate = { log = [0.0, 0.1] }\n", ["s.toml:2:1: [space] learning_rate", "log"]),
        ("[space]\nunits = { int = [0, 8] }\n", ["s.toml:2:1: [space] units", "from 1 on"]),
        ("[space]\nunits = { ints = [1, 8] }\n", ["s.toml:2:1: [space] units", "did you mean `int`?"]),
        ("[search]\ntrials = \"many\"\n", ["s.toml:2:10: [search] trials", "`many`"]),
        ("metric = \"accuracy\"\ndirection = \"minimize\"\n", ["s.toml:2:13: direction is `minimize`", "maximize"]),
        ("direction = \"minimize\"\n", ["s.toml:1:13: direction is `minimize`", "accuracy"]),
        ("trials 5\n", ["s.toml:1:", "expected"]),
    ] {
        folder.write("s.toml", text);
        folder.run("search s.toml").fails(2, &parts);
    }
    assert_eq!(folder.names(), ["s.toml"], "nothing is left behind");
}

#[test]
fn storage_that_is_no_database() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(40)).write("notes.txt", "these are notes, and they are longer than a header\n");
    for words in ["search --data t.csv --storage notes.txt", "trials --storage notes.txt", "ask --storage notes.txt"] {
        folder.run(words).fails(2, &["notes.txt", "not an SQLite database"]);
    }
    let kept = std::fs::read_to_string(folder.path("notes.txt")).unwrap();
    assert!(kept.starts_with("these are notes"), "the file is as it was");
}

#[test]
fn folders_that_cannot_be_written_to() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(40)).write("file", "");
    // No folder can be made under a file or in /proc, not even by root.
    for out in ["file/m.st", "/proc/hpt/m.st"] {
        folder.run(&format!("train --data t.csv --out {out}")).fails(2, &["--out", "cannot be written to"]);
    }
    folder.run("search --data t.csv --out file/models").fails(2, &["--out", "cannot be written to"]);
    folder.run("search --data t.csv --storage file/s.db").fails(2, &["file/s.db"]);
    folder.run("search --data t.csv --storage nowhere/s.db").fails(2, &["nowhere"]);
    folder.run("train --data t.csv --out file/").fails(2, &["--out"]);
}

#[test]
fn models_that_are_none() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(40)).write("text.st", "no model").write("empty.st", "");
    folder.run("train --data t.csv --epochs 1").ok();
    let bytes = std::fs::read(folder.path("model.safetensors")).unwrap();
    std::fs::write(folder.path("half.st"), &bytes[..bytes.len() / 2]).unwrap();
    for (model, word) in [("text.st", "safetensors"), ("empty.st", "empty"), ("half.st", "truncated")] {
        folder.run(&format!("predict --model {model} --data t.csv")).fails(2, &[model, word]);
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_there() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(40));
    folder.run("train --data t.csv --epochs 1").ok();
    let full = folder.run("predict --model model.safetensors --data t.csv --out /dev/full");
    full.fails(1, &["/dev/full", "No space left"]);
    let Some(small) = SmallDisk::mount(&folder) else { return };
    let storage = small.0.join("s.db").display().to_string();
    // The disk fills up while trials are running.
    let ran = folder.run(&format!("search --data t.csv --epochs 1 --trials 900 --keep-models 0 --storage {storage}"));
    ran.fails(1, &["s.db", "the disk is full", "are kept"]);
    let copy = folder.path("copy.db");
    std::fs::copy(small.0.join("s.db"), &copy).unwrap();
    let wal = small.0.join("s.db-wal");
    if wal.exists() {
        std::fs::copy(wal, folder.path("copy.db-wal")).unwrap();
    }
    let kept = trials(&folder, "copy.db");
    assert!(!in_state(&kept, "complete").is_empty(), "finished trials are there: {}", kept.len());
    assert!(in_state(&kept, "complete").iter().all(|trial| trial["value"].is_number()));
}

/// A small file system, where the system lets us have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Folder) -> Option<Self> {
        let path = folder.path("small");
        std::fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"]).arg(&path).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(path));
        }
        eprintln!("skipped: no file system can be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn names_in_a_study_file_are_refused_where_they_stand() {
    let folder = Folder::new();
    let space = "[space]\nlearning_rate = { log = [1e-4, 1e-1] }\n";
    for (line, place, parts) in [
        ("sampler = \"tp\"", "s.toml:3:11: [search] sampler", vec!["`tp`", "did you mean `tpe`?"]),
        ("acquisition = \"ucbb\"", "s.toml:3:15: [search] acquisition", vec!["`ucbb`", "did you mean `ucb`?"]),
        ("pruner = \"foo\"", "s.toml:3:10: [search] pruner", vec!["`foo`", "asha"]),
        ("enqueue = [{ learning_rat = 0.1 }]", "s.toml:3:11: [search] enqueue", vec!["did you mean `learning_rate`?"]),
        ("warm_start = \"none.db\"", "s.toml:3:14: [search] warm_start", vec!["none.db", "no such"]),
        (
            "sampler = \"tpe\"\nacquisition = \"ucb\"",
            "s.toml:4:15: [search] acquisition",
            vec!["tpe has no acquisition"],
        ),
    ] {
        folder.write("s.toml", &format!("[data]\n[search]\n{line}\n{space}").replacen("[data]\n", "# none\n", 1));
        let parts: Vec<&str> = std::iter::once(place).chain(parts).collect();
        folder.run("search s.toml --data digits").fails(2, &parts);
        folder.run("search s.toml --data digits --trials 1").fails(2, &parts);
    }
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let folder = Folder::new();
    for (words, parts) in [
        ("search --acquisition ucb --sampler tpe", vec!["--acquisition", "tpe has no acquisition"]),
        ("compare --function branin --epochs 3", vec!["--epochs goes with --data alone"]),
        ("search --jobs 0", vec!["--jobs is `0`", "a whole number from 1"]),
        ("search --pruner percentile --pruner-option percentile=0", vec!["`percentile` is 0", "above 0"]),
    ] {
        folder.run(words).fails(2, &parts);
    }
}

#[test]
fn what_has_no_say_and_what_steps_miss_is_noted_once() {
    let folder = Folder::new();
    folder.write("o.sh", "echo $1\n");
    folder
        .write("s.toml", "direction = \"minimize\"\n[search]\ntrials = 3\n[space]\nx = { int = [0, 10], step = 4 }\n");
    let search =
        ["search", "--direction", "minimize", "--trials", "2", "--command", "sh o.sh {x}", "--space", "s.toml"];
    let said = folder.run_words(&search).ok().err;
    assert!(
        said.contains("s.toml: only its [space] is read; direction, [search] count where `search s.toml`"),
        "{said}"
    );
    let missed = "s.toml:5:5: [space] x: the step misses 10; the last value is 8";
    assert_eq!(said.matches(missed).count(), 1, "{said}");
    folder.write("bare.toml", "x = { float = [0.0, 1.0], step = 0.3 }\ny = { int = [0, 8], step = 4 }\n");
    let said = folder.run("create-study --study a --direction minimize --space bare.toml").ok().err;
    assert!(said.contains("bare.toml:1:1: x: the step misses 1") && said.contains("is 0.9"), "{said}");
    assert!(!said.contains("only its [space]") && !said.contains(" y: "), "{said}");
    folder.write("t.toml", "[serach]\ntrials = 3\n[space]\nx = { int = [0, 10] }\n");
    let wrong = folder.run("create-study --study b --direction minimize --space t.toml");
    wrong.fails(2, &["t.toml:1:2: key: `serach`", "did you mean `search`"]);
}

#[test]
fn a_wrong_name_to_try_first_has_a_place_without_a_space_too() {
    let folder = Folder::new();
    let words = ["search", "--trials", "1", "--enqueue", "{\"lerning_rate\": 0.1}"];
    folder.run_words(&words).fails(2, &["--enqueue: parameter: `lerning_rate`", "did you mean `learning_rate`"]);
    folder.write("f.toml", "[search]\nenqueue = [{ lerning_rate = 0.1 }]\n");
    folder.run("search f.toml --trials 1").fails(2, &["f.toml:2:11: [search] enqueue: parameter: `lerning_rate`"]);
    assert!(!folder.names().contains(&"hpt-study.db".to_owned()), "{:?}", folder.names());
}
