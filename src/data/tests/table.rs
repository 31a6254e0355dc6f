//! Tables of text: what is read, and what is said of files that cannot be.

use super::*;
use crate::data::csv::{is_missing, parse_number};
use proptest::prelude::*;

fn column(source: &Source, name: &str) -> Vec<f64> {
    let Content::Table(columns) = source.content() else { panic!("a table is expected") };
    match &columns.iter().find(|column| column.name == name).unwrap().values {
        Values::Numbers(numbers) => (0..numbers.len()).map(|row| numbers.get(row)).collect(),
        Values::Text(_) => panic!("`{name}` is text"),
    }
}

fn texts(source: &Source, name: &str) -> Vec<String> {
    let Content::Table(columns) = source.content() else { panic!("a table is expected") };
    match &columns.iter().find(|column| column.name == name).unwrap().values {
        Values::Text(texts) => {
            texts.codes.iter().map(|&c| texts.names.get(c as usize).cloned().unwrap_or("(missing)".into())).collect()
        }
        Values::Numbers(_) => panic!("`{name}` is numeric"),
    }
}

fn classes(source: &Source) -> Vec<String> {
    let Task::Classification { classes } = source.task() else { panic!("classes are expected") };
    classes.clone()
}

#[test]
fn the_same_table_in_every_dress() {
    let plain = "a,b,y\n1,x,no\n2.5,\"y, z\",yes\n-3,x,no\n";
    let dresses: Vec<(&str, Vec<u8>)> = vec![
        ("crlf", plain.replace('\n', "\r\n").into_bytes()),
        ("bom", [b"\xef\xbb\xbf".as_slice(), plain.as_bytes()].concat()),
        ("gzip", gzip(plain.as_bytes())),
        ("two members", [gzip(&plain.as_bytes()[..10]), gzip(&plain.as_bytes()[10..])].concat()),
        ("gzip of bom", gzip(&[b"\xef\xbb\xbf".as_slice(), plain.as_bytes()].concat())),
        ("no newline at the end", plain.trim_end().as_bytes().to_vec()),
        ("blank lines at the end", format!("{plain}\n\n  \n\r\n").into_bytes()),
        (
            "blanks around",
            plain.replace("2.5,", " 2.5 , ").replace("1,x", "1,  x ").replace(", \"", ",\"").into_bytes(),
        ),
        ("semicolon", plain.replace("y, z", "y. z").replace(',', ";").replace("y. z", "y, z").into_bytes()),
        ("tab", plain.replace("y, z", "y. z").replace(',', "\t").replace("y. z", "y, z").into_bytes()),
        ("bar", plain.replace("y, z", "y. z").replace(',', "|").replace("y. z", "y, z").into_bytes()),
    ];
    let expected = table(plain, &[]).unwrap().source;
    assert_eq!(column(&expected, "a"), [1.0, 2.5, -3.0]);
    assert_eq!(texts(&expected, "b"), ["x", "y, z", "x"]);
    assert_eq!(classes(&expected), ["no", "yes"]);
    for (name, bytes) in dresses {
        let found = table(&bytes, &[]).unwrap_or_else(|error| panic!("{name}: {error}")).source;
        assert_eq!((&found.content, &found.target), (&expected.content, &expected.target), "{name}");
    }
}

#[test]
fn quotes_newlines_in_cells_and_line_numbers() {
    let found = table("a,b,y\n1,\"two\nlines\",p\n2,\"a \"\"b\"\"\",q\n", &[]).unwrap().source;
    assert_eq!(texts(&found, "b"), ["two\nlines", "a \"b\""]);
    let bad = message(table("a,b,y\n1,\"two\r\nlines\",p\r\n\r\n2,x\n", &[]));
    assert_eq!(bad, "t.csv:5: the row has 2 cells, the header has 3");
    for end in ["\n", "\r\n", "\r"] {
        let text = "a,b,y\n1,x,p\n2,x,q\n3,x\n".replace('\n', end);
        assert_eq!(message(table(text, &[])), "t.csv:4: the row has 2 cells, the header has 3", "{end:?}");
    }
    let open = message(table("a,b,y\n1,x,p\n2,\"x,q\n3,x,p\n", &[]));
    assert_eq!(open, "t.csv:3: the row has 2 cells, the header has 3 (is a quote left open?)");
}

#[test]
fn missing_cells() {
    let found = table("a,b,y\n1,u,p\n,NA,q\nNaN,?,p\nnull,n/a,q\n?,,p\nN/A,v,q\n", &[]).unwrap().source;
    assert_eq!(column(&found, "a").iter().filter(|v| v.is_nan()).count(), 5);
    assert_eq!(texts(&found, "b"), ["u", "(missing)", "(missing)", "(missing)", "(missing)", "v"]);
    for word in ["none", "nul", "-", "0", "n.a.", "??"] {
        assert!(!is_missing(word.as_bytes()), "{word}");
    }
}

#[test]
fn a_column_becomes_text_in_its_last_row() {
    let rows: String = (0..500).map(|i| format!("{i},{i},{}\n", i % 2)).collect();
    let found = table(format!("a,b,y\n{rows}007,x7,1\n"), &[]).unwrap().source;
    assert_eq!(column(&found, "a")[500], 7.0);
    assert_eq!(texts(&found, "b")[499..], ["499", "x7"]);
}

#[test]
fn numbers_that_need_64_bits_keep_them() {
    let found = table("a,b,y\n1700000001,0.5,0\n1700000002,0.25,1\n", &[]).unwrap().source;
    assert_eq!(column(&found, "a"), [1_700_000_001.0, 1_700_000_002.0]);
    let Content::Table(columns) = found.content() else { panic!() };
    assert!(matches!(columns[0].values, Values::Numbers(Numbers::Double(_))));
    assert!(matches!(columns[1].values, Values::Numbers(Numbers::Single(_))));
}

#[test]
fn bad_files_say_what_and_where() {
    let cases: Vec<(&[u8], &str)> = vec![
        (b"", "t.csv: the file is empty; a header row and rows of data are expected"),
        (b"\n\n", "t.csv: the file is empty; a header row and rows of data are expected"),
        (b"a,b,y\n", "t.csv: a header row but no rows of data"),
        (b"a,b,y\n1,2,0\n1,2\n", "t.csv:3: the row has 2 cells, the header has 3"),
        (b"a,b,y\n1,2,0\n1,2,3,4\n", "t.csv:3: the row has 4 cells, the header has 3"),
        (b"a,b,a\n1,2,0\n", "t.csv:1: columns 1 and 3 are both named `a`; column names must differ"),
        (b"a,y\n1,0\n\xff,1\n", "t.csv:3: not UTF-8 text (byte 0xff); save the file as UTF-8"),
        (b"\xff\xfea\0", "t.csv: the text is UTF-16; save it as UTF-8"),
        (
            b"a,y\n1,0\ninf,1\n",
            "t.csv:3: column `a`: infinity is not a value; leave the cell empty where the value is missing",
        ),
        (
            b"a,y\n1,0\n1e39,1\n",
            "t.csv:3: column `a`: the number is beyond the range of 32-bit floats; leave the cell empty where the value is missing",
        ),
        (b"a,y\n1,0\n2,\n3,1\n", "t.csv:3: target `y` is missing (1 of 3 rows); remove the rows without a target"),
        (
            b"a,y\n1,0\n2,0\n",
            "t.csv: target `y` has one class only, `0`; a classification needs at least two (or is the target another column?)",
        ),
        (
            b"a,y\n1,1.5\n2,2.5\n3,oops\n4,3.5\n",
            "t.csv:4: target `y`: a number is expected as in 3 other rows, found `oops` (`--task classification` takes every text as a class)",
        ),
        (b"a,y\n1,1.5\n2,inf\n", "t.csv:3: target `y`: a finite number is expected, found `inf`"),
        (b"y\n1\n2\n", "t.csv: there is no column beside the target to learn from"),
        (b"5.1,3.5,0\n4.9,3.0,1\n", "t.csv:1: a header row with column names is expected, found numbers (`5.1…`)"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(message(table(bytes, &[])), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn bad_paths_say_what() {
    let folder = folder();
    let path = folder.path().join("absent.csv").to_str().unwrap().to_owned();
    assert!(message(load(&DataSpec::new(&path))).ends_with("absent.csv: no such file or directory"));
    let path = folder.path().to_str().unwrap();
    assert!(message(load(&DataSpec::new(path))).contains("is a directory without IDX files"));
    let hint = message(load(&DataSpec::new("digitz")));
    assert!(hint.contains("did you mean `digits`?"), "{hint}");
    let cut = gzip(b"a,y\n1,0\n2,1\n");
    let path = write(folder.path(), "cut.csv.gz", &cut[..cut.len() - 6]);
    assert!(message(load(&DataSpec::new(path))).contains("damaged or truncated gzip file"));
}

#[test]
fn columns_that_are_named_must_exist() {
    let text = "age,income,y\n1,2,0\n3,4,1\n";
    assert!(message(table(text, &["incom"])).contains("target column: `incom` is not known; did you mean `income`?"));
    let folder = folder();
    let path = write(folder.path(), "t.csv", text);
    let spec = DataSpec::new(path);
    let bad = load(&DataSpec { categorical: vec!["ages".into()], ..spec.clone() });
    assert!(message(bad).contains("categorical column: `ages` is not known; did you mean `age`?"));
    let bad = load(&DataSpec { fold_column: Some("y".into()), target: vec!["y".into()], ..spec.clone() });
    assert_eq!(message(bad), "t.csv: column `y` is both a target and the fold column");
    let bad = load(&DataSpec { target: vec!["y".into(), "y".into()], ..spec });
    assert_eq!(message(bad), "t.csv: column `y` is named twice as a target");
}

#[test]
fn an_index_without_a_name_is_left_out() {
    let loaded = table(",a,y\n0,5,0\n1,6,1\n2,5,0\n", &[]).unwrap();
    assert_eq!(loaded.source.column_names(), ["a"]);
    assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    let loaded = table(",a,y\n3,5,0\n1,6,1\n2,5,0\n", &[]).unwrap();
    assert_eq!(loaded.source.column_names(), ["column_1", "a"]);
}

#[test]
fn tasks_and_classes() {
    let shuffled = table("a,y\n1,10\n2,2\n3,1\n4,10\n", &[]).unwrap().source;
    assert_eq!(classes(&shuffled), ["1", "2", "10"]);
    assert_eq!(shuffled.target(), &TargetValues::Classes(vec![2, 1, 0, 2]));
    let negative = table("a,y\n1,1\n2,-1\n3,-10\n4,0\n", &[]).unwrap().source;
    assert_eq!(classes(&negative), ["-10", "-1", "0", "1"]);
    let spelled = table("a,y\n1,1.0\n2,1\n3,2\n4,2.00\n", &[]).unwrap().source;
    assert_eq!(classes(&spelled), ["1", "2"]);
    assert_eq!(spelled.target(), &TargetValues::Classes(vec![0, 0, 1, 1]));
    let text = table("a,y\n1,b\n2,a\n3,10\n4,2\n", &[]).unwrap().source;
    assert_eq!(classes(&text), ["10", "2", "a", "b"]);
    let real = table("a,y\n1,0.5\n2,1\n", &[]).unwrap().source;
    assert_eq!(real.target(), &TargetValues::Real(vec![0.5, 1.0]));
    let rows = |distinct: usize| (0..200).map(|i| format!("{},{}\n", i % 7, i % distinct)).collect::<String>();
    assert_eq!(classes(&table(format!("a,y\n{}", rows(50)), &[]).unwrap().source).len(), 50);
    let many = table(format!("a,y\n{}", rows(51)), &[]).unwrap().source;
    assert_eq!(many.task(), &Task::Regression { targets: vec!["y".into()] });
}

#[test]
fn the_task_can_be_chosen() {
    let folder = folder();
    let rows: String = (0..200).map(|i| format!("{},{}\n", i % 7, i % 60)).collect();
    let path = write(folder.path(), "t.csv", format!("a,y\n{rows}"));
    let spec = DataSpec { task: TaskChoice::Classification, ..DataSpec::new(path) };
    assert_eq!(classes(&load(&spec).unwrap().source).len(), 60);
    let path = write(folder.path(), "t.csv", "a,y\n1,0\n2,1\n");
    let spec = DataSpec { task: TaskChoice::Regression, ..DataSpec::new(path) };
    assert_eq!(load(&spec).unwrap().source.target(), &TargetValues::Real(vec![0.0, 1.0]));
    let path = write(folder.path(), "t.csv", "a,y\n1,0\n2,one\n");
    let spec = DataSpec { task: TaskChoice::Regression, ..DataSpec::new(path) };
    assert_eq!(message(load(&spec)), "t.csv:3: target `y`: a number is expected, found `one`");
}

#[test]
fn several_targets() {
    let text = "p,x,q\n1,5,0\n0,6,0\n1,7,1\n";
    let labels = table(text, &["q", "p"]).unwrap().source;
    assert_eq!(labels.task(), &Task::MultiLabel { labels: vec!["q".into(), "p".into()] });
    assert_eq!(labels.target(), &TargetValues::Binary(vec![0.0, 1.0, 0.0, 0.0, 1.0, 1.0]));
    assert_eq!(labels.column_names(), ["x"]);
    let real = table(text, &["x", "p"]).unwrap().source;
    assert_eq!(real.task(), &Task::Regression { targets: vec!["x".into(), "p".into()] });
    assert_eq!(real.target(), &TargetValues::Real(vec![5.0, 1.0, 6.0, 0.0, 7.0, 1.0]));
    let folder = folder();
    let spec = DataSpec {
        task: TaskChoice::Classification,
        target: vec!["x".into(), "p".into()],
        ..DataSpec::new(write(folder.path(), "t.csv", text))
    };
    assert!(message(load(&spec)).contains("target `x`: several targets of a classification must hold 0 and 1 only"));
}

#[test]
fn a_test_file_is_read_by_the_training_file() {
    let folder = folder();
    let path = write(folder.path(), "train.csv", "a,b,y\n1,u,cat\n2,v,dog\n3,u,cat\n");
    let read = |text: &str| {
        let test = Some(write(folder.path(), "t.csv", text));
        load(&DataSpec { test, ..DataSpec::new(&path) })
    };
    let loaded = read("y;extra;b;a\ndog;1;u;7\n").unwrap();
    let test = loaded.test.unwrap();
    assert_eq!(test.column_names(), ["a", "b"]);
    assert_eq!((column(&test, "a"), test.target()), (vec![7.0], &TargetValues::Classes(vec![1])));
    assert!(loaded.notes[0].ends_with("ignored columns: `extra`"), "{:?}", loaded.notes);
    assert_eq!(message(read("a,b,y\n1,u,cow\n")), "t.csv:2: target `y`: class: `cow` is not known (known: cat, dog)");
    assert_eq!(
        message(read("a,bb,y\n1,u,cat\n")),
        "t.csv: column `b`, needed by the training data, is missing; did you mean `bb`? (columns: `a`, `bb`, `y`)"
    );
    assert_eq!(message(read("a,b,y\n1,u,cat\nx,u,cat\n")), "t.csv:3: column `a`: a number is expected, found `x`");
}

#[test]
fn fingerprints_tell_data_apart() {
    let text = "a,b,y\n1,u,0\n,v,1\n3,u,0\n";
    let of = |text: &str| table(text, &["y"]).unwrap().source.fingerprint();
    assert_eq!(of(text), of(&text.replace(',', ";")));
    let others = ["a,b,y\n1,u,0\n,v,1\n3,u,1\n", "a,b,y\n1,u,0\n,v,1\n4,u,0\n", "a,c,y\n1,u,0\n,v,1\n3,u,0\n"];
    for other in others.into_iter().chain(["a,b,y\n1,u,0\n,v,1\n3,v,0\n", "a,b,y\n1,u,n\n,v,y\n3,u,n\n"]) {
        assert_ne!(of(text), of(other), "{other}");
    }
    assert_eq!(of(text), 3_130_181_025_650_485_161, "the number is stored with studies: it must not change");
}

#[test]
fn number_syntax() {
    for (text, value) in [
        ("0", 0.0),
        ("-0.5", -0.5),
        ("+7", 7.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 1e-3),
        ("0.1", 0.1),
        ("123456789012345", 123456789012345.0),
        ("1234567890123456789", 1234567890123456789.0),
        ("0.000000000000000001", 1e-18),
        ("179769313486231570000000000000000000000", 1.797_693_134_862_315_7e38),
    ] {
        assert_eq!(parse_number(text.as_bytes()), Some(value), "{text}");
    }
    for text in ["", "-", ".", "+.", "1,5", "1 000", "0x10", "1e", "--1", "1.2.3", "1_000", "abc", "١"] {
        assert_eq!(parse_number(text.as_bytes()), None, "{text}");
    }
}

proptest! {
    #[test]
    fn numbers_are_rounded_as_the_standard_library_does(text in "[-+]?[0-9]{0,20}(\\.[0-9]{0,20})?(e-?[0-9]{1,2})?") {
        prop_assert_eq!(parse_number(text.as_bytes()).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(prop_oneof![
        Just(b','), Just(b'\n'), Just(b'\r'), Just(b'"'), Just(b'1'), Just(b'a'), Just(b';'), Just(0u8), any::<u8>()
    ], 0..80)) {
        if let Ok(loaded) = table(&bytes, &[]) {
            let rows = all(&loaded.source);
            if let Ok((pipeline, _)) = Pipeline::fit(&loaded.source, &rows, Preprocess::Quantile) {
                pipeline.validate().unwrap();
                pipeline.transform(&loaded.source, &rows).unwrap();
            }
        }
    }
}
