//! The import table of ARCHITECTURE.md against the code: every `crate::` path in `src/` must be an arrow of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rows `| module | may import |` of the table under "## Imports".
fn allowed() -> Table {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## Imports").nth(1).expect("ARCHITECTURE.md has a section Imports");
    let rows =
        section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let module = names(cells[0]).pop_first().expect("a module in the first cell");
        (module, names(cells[1]))
    })
    .collect()
}

/// Which modules each module of `src/` names after `crate::`, comments and tests included.
fn found() -> Table {
    let mut table = Table::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let module = module_of(&path);
                let imports = imports(&fs::read_to_string(&path).unwrap());
                table.entry(module.clone()).or_default().extend(imports.into_iter().filter(|name| *name != module));
            }
        }
    }
    table
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Lower-case names that follow `crate::` or `hpt_engine::`, also inside a brace list.
fn imports(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for prefix in ["crate::", "hpt_engine::"] {
        for after in text.split(prefix).skip(1) {
            match after.strip_prefix('{') {
                Some(list) => names.extend(top_level(list)),
                None => names.extend(name(after)),
            }
        }
    }
    names
}

/// The first segment of each item of a brace list, nested lists skipped.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(name(list[start..i].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(name(list[start..i].trim()));
                start = i + 1;
            }
            _ => {}
        }
    }
    names
}

/// A module's name at the start: lower-case and not a macro or a function call.
fn name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    name.starts_with(|c: char| c.is_ascii_lowercase()).then(|| name.to_owned())
}

#[test]
fn every_import_is_an_arrow_of_the_table() {
    let (allowed, found) = (allowed(), found());
    for (module, imports) in found.iter().filter(|(module, _)| *module != "cli") {
        let row = allowed.get(module).unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for `{module}`"));
        for import in imports {
            assert!(row.contains(import) || import == "error", "`{module}` imports `{import}`: not in ARCHITECTURE.md");
        }
    }
    for (module, imports) in &allowed {
        let real = found.get(module).unwrap_or_else(|| panic!("ARCHITECTURE.md names `{module}`, src/ does not"));
        let stale: Vec<_> = imports.difference(real).collect();
        assert!(stale.is_empty(), "ARCHITECTURE.md lets `{module}` import {stale:?}, which it does not: remove them");
    }
}

#[test]
fn the_table_has_no_circle() {
    let mut left = allowed();
    while let Some(leaf) = left.iter().find(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone()) {
        left.remove(&leaf);
        left.values_mut().for_each(|imports| {
            imports.remove(&leaf);
        });
    }
    assert!(left.is_empty(), "a circle among {:?}", left.keys());
}

#[test]
fn the_columns_do_not_know_each_other() {
    let allowed = allowed();
    let numeric = ["data", "model", "backend", "train", "engine"];
    let search = ["space", "history", "sampler", "pruner", "study", "importance", "compare"];
    for (side, other) in [(&numeric[..], &search[..]), (&search[..], &numeric[..])] {
        for module in side {
            let crossing: Vec<_> = other.iter().filter(|name| allowed[*module].contains(**name)).collect();
            assert!(crossing.is_empty(), "`{module}` must not import {crossing:?}");
        }
    }
}

#[test]
fn the_kernels_know_nothing_of_the_engine() {
    let text = fs::read_to_string(root().join("kernels/Cargo.toml")).unwrap();
    assert!(!text.contains("hpt-engine ="), "hpt-kernels must not depend on hpt-engine");
}
