//! Samplers against each other: functions, tables, data; the report; interrupting and going on.

use hpt_engine::compare::{CompareSpec, FUNCTIONS, Grid, Problem, Report, Run, function, run};
use hpt_engine::data::DataSpec;
use hpt_engine::history::Direction;
use hpt_engine::random::{Purpose, Stream};
use hpt_engine::search::{DataProblem, SearchSpec};
use hpt_engine::settings::Settings;
use hpt_engine::space::{Domain, Params, Value};
use hpt_engine::study::{Storage, Study};
use std::sync::atomic::Ordering;

fn names(samplers: &[&str]) -> Vec<String> {
    samplers.iter().map(|name| (*name).to_owned()).collect()
}

/// Everything but times.
fn values(runs: &[Run]) -> Vec<(&str, u64, bool, &[Option<f64>])> {
    runs.iter().map(|run| (run.sampler.as_str(), run.seed, run.ended, run.best.as_slice())).collect()
}

#[test]
fn functions_have_the_optima_of_the_literature() {
    let at = |name: &str, points: &[f64]| {
        let function = function(name).unwrap();
        let names = function.space.parameters().iter().map(|parameter| parameter.name.clone());
        let params: Params = names.zip(points.iter().map(|x| Value::Float(*x))).collect();
        (function.evaluate(&params).unwrap(), function.optimum)
    };
    let pi = std::f64::consts::PI;
    for (name, point) in [
        ("branin", vec![pi, 2.275]),
        ("branin", vec![-pi, 12.275]),
        ("hartmann3", vec![0.114_614, 0.555_649, 0.852_547]),
        ("hartmann6", vec![0.201_69, 0.150_011, 0.476_874, 0.275_332, 0.311_652, 0.657_301]),
        ("ackley5", vec![0.0; 5]),
        ("levy5", vec![1.0; 5]),
        ("rosenbrock5", vec![1.0; 5]),
    ] {
        let (found, optimum) = at(name, &point);
        assert!((found - optimum).abs() < 1e-6, "{name}: {found} {optimum}");
    }
    for name in FUNCTIONS {
        let function = function(name).unwrap();
        for i in 0..300 {
            let params = function.space.sample(&mut Stream::new(3, i, Purpose::Propose, 0));
            assert!(function.evaluate(&params).unwrap() >= function.optimum, "{name}");
        }
        assert!(function.median > function.optimum, "{name}");
    }
    assert!(function("brannin").unwrap_err().to_string().contains("did you mean `branin`"));
}

#[test]
fn runs_do_not_depend_on_how_many_there_are_at_once() {
    let branin = function("branin").unwrap();
    let samplers = names(&["random", "qmc", "tpe"]);
    let spec = CompareSpec { seeds: 4, trials: 15, ..CompareSpec::new(&samplers) };
    let one = run(&branin, &spec).unwrap();
    let two = run(&branin, &CompareSpec { jobs: 3, ..spec.clone() }).unwrap();
    assert_eq!(values(&one), values(&two));
    assert_eq!((one.len(), one[0].sampler.as_str(), one[1].sampler.as_str(), one[3].seed), (12, "random", "qmc", 1));
    for run in &one {
        assert!(run.ended && run.best.len() == 15 && run.seconds.is_sorted(), "{run:?}");
        let best: Vec<f64> = run.best.iter().map(|best| best.unwrap()).collect();
        assert!(best.is_sorted_by(|a, b| a >= b), "{run:?}");
    }
    let report = Report::new(&branin, &one).unwrap();
    assert_eq!((report.seeds.len(), report.trials, report.duels.len()), (4, 15, 3));
    assert_eq!(report.by_trials[0].x, (1..=15).map(f64::from).collect::<Vec<_>>());
    let friedman = report.friedman.as_ref().unwrap();
    let ranks: f64 = report.standings.iter().map(|standing| standing.mean_rank).sum();
    assert!((ranks - 6.0).abs() < 1e-12 && (friedman.mean_ranks.iter().sum::<f64>() - 6.0).abs() < 1e-12);
    assert!(report.standings.is_sorted_by(|a, b| a.mean_rank <= b.mean_rank));
    let lines = report.csv();
    assert_eq!(lines.lines().count(), 1 + 3 * 15 + 3 * report.by_seconds[0].x.len());
    assert!(lines.starts_with("curve,sampler,x,mean,q10,q25,median,q75,q90\ntrials,random,1,"), "{lines}");
}

/// Runs whose numbers can be checked by hand.
fn by_hand() -> Vec<Run> {
    let run = |sampler: &str, seed, best: [Option<f64>; 3], seconds: [f64; 3]| Run {
        sampler: sampler.to_owned(),
        seed,
        ended: true,
        best: best.to_vec(),
        seconds: seconds.to_vec(),
    };
    vec![
        run("a", 0, [Some(4.0), Some(2.0), Some(2.0)], [1.0, 2.0, 3.0]),
        run("b", 0, [None, Some(3.0), Some(1.0)], [1.0, 2.0, 5.0]),
        run("a", 1, [Some(8.0), Some(8.0), Some(4.0)], [1.0, 2.0, 3.0]),
        run("b", 1, [Some(6.0), Some(6.0), Some(5.0)], [1.0, 2.0, 5.0]),
        // Not finished by both: not counted.
        Run { ended: false, ..run("a", 2, [Some(0.0); 3], [1.0, 2.0, 3.0]) },
    ]
}

#[test]
fn a_report_is_what_a_pencil_says() {
    let branin = function("branin").unwrap();
    let report = Report::new(&branin, &by_hand()).unwrap();
    assert_eq!((report.seeds, report.trials, report.friedman), (vec![0, 1], 3, None));
    let [a, b] = &report.standings[..] else { panic!() };
    assert_eq!((a.sampler.as_str(), a.best.mean, a.best.sd, a.mean_rank), ("a", 3.0, 2f64.sqrt(), 1.5));
    assert_eq!((b.best.mean, b.median, b.mean_rank, b.seconds.mean), (3.0, 3.0, 1.5, 5.0));
    // From the first trial on: a 4, 2, 2 and 8, 8, 4; b 3, 1 and 6, 6, 5, and before that the worst first value, 4.
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    near(a.area_trials.mean, (8.0 + 20.0) / 3.0 / 2.0);
    near(b.area_trials.mean, (8.0 + 17.0) / 3.0 / 2.0);
    // From second 1 to 5: a has 4 for one second, then 2, and 8 for two seconds, then 4; b 4 for one, then 3, and 6.
    near(a.area_seconds.mean, (10.0 + 24.0) / 4.0 / 2.0);
    near(b.area_seconds.mean, (13.0 + 24.0) / 4.0 / 2.0);
    let duel = &report.duels[0];
    assert_eq!((duel.wins, duel.difference, duel.p, duel.p_holm, duel.exact), ([1, 1, 0], 0.0, 1.0, 1.0, true));
    let [curve, _] = &report.by_trials[..] else { panic!() };
    assert_eq!((&curve.x, &curve.mean, &curve.q25), (&vec![1.0, 2.0, 3.0], &vec![6.0, 5.0, 3.0], &vec![5.0, 3.5, 2.5]));
    let times = &report.by_seconds[0].x;
    assert!((times[0] - 1.0).abs() < 1e-12 && (times[times.len() - 1] - 5.0).abs() < 1e-12);
    assert_eq!(report.by_seconds[1].mean[0], 5.0);
}

#[test]
fn nothing_to_compare_is_an_error_in_words() {
    let branin = function("branin").unwrap();
    let fails = |samplers: &[&str], part: &str| {
        let samplers = names(samplers);
        let error = run(&branin, &CompareSpec::new(&samplers)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    fails(&[], "at least one sampler");
    fails(&["random", "random"], "named twice");
    fails(&["randm"], "did you mean `random`");
    let error = Report::new(&branin, &by_hand()[4..]).unwrap_err().to_string();
    assert!(error.contains("no seed was finished"), "{error}");
}

const TABLE: &str = "kind,rate,depth,score\na,0.1,2,1\na,0.01,2,2\nb,0.1,2,3\nb,0.01,2,4\nb,0.01,2,6\na,0.1,10,0\n";

#[test]
fn a_table_is_a_function_of_its_levels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.csv");
    std::fs::write(&path, TABLE).unwrap();
    let grid = Grid { direction: Direction::Maximize, value: None };
    let table = grid.read(&path).unwrap();
    assert_eq!((table.name.as_str(), table.optimum, table.space.len()), ("grid", 5.0, 3));
    let domain = |name: &str| &table.space.get(name).unwrap().domain;
    assert_eq!(*domain("kind"), Domain::Choice(vec!["a".into(), "b".into()]));
    assert_eq!(*domain("depth"), Domain::Int { low: 0, high: 1, log: false, step: 1 });
    let at = |kind: &str, rate: i64, depth: i64| {
        let pairs = [("kind", Value::from(kind)), ("rate", rate.into()), ("depth", depth.into())];
        table.evaluate(&pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    // Levels are in the order of numbers: 0.01 is before 0.1, 2 before 10; repeated rows are averaged.
    assert_eq!((at("a", 0, 0), at("b", 0, 0), at("a", 1, 1), at("b", 1, 1)), (Some(2.0), Some(5.0), Some(0.0), None));
    // Configurations without a row fail, the others go on; a grid ends when there is nothing left.
    let samplers = names(&["random", "grid"]);
    let runs = run(&table, &CompareSpec { seeds: 2, trials: 20, ..CompareSpec::new(&samplers) }).unwrap();
    assert!(runs.iter().all(|run| run.ended), "{runs:?}");
    let report = Report::new(&table, &runs).unwrap();
    assert!(report.standings.iter().all(|standing| standing.regret.unwrap().mean == 0.0), "{:?}", report.standings);

    let other = Grid { value: Some("depth".to_owned()), ..grid.clone() }.read(&path).unwrap();
    assert_eq!((other.optimum, other.space.get("score").is_some()), (10.0, true));
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zipped, TABLE.as_bytes()).unwrap();
    let packed = folder.path().join("grid.csv.gz");
    std::fs::write(&packed, zipped.finish().unwrap()).unwrap();
    assert_eq!(grid.read(&packed).unwrap().space, table.space);
    for (text, part) in [
        ("a,b\n1,x\n", "line 2: b is `x`; a number is expected"),
        ("a,b\n1,nan\n", "line 2: b is `nan`"),
        ("a,b\n1\n", "grid.csv"),
        ("b\n1\n", "one of values is expected"),
        ("", "grid.csv"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = grid.read(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("grid.csv"), "{error}");
    }
    assert!(grid.read(folder.path().join("none.csv")).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn an_interrupted_comparison_goes_on_from_its_studies() {
    let branin = function("branin").unwrap();
    let samplers = names(&["random", "tpe"]);
    let whole = run(&branin, &CompareSpec { seeds: 3, trials: 14, ..CompareSpec::new(&samplers) }).unwrap();
    let storage = Storage::in_memory().unwrap();
    let spec = CompareSpec { seeds: 3, trials: 14, storage: Some(&storage), ..CompareSpec::new(&samplers) };
    // Stopped after the second run.
    let stop = spec.stop.clone();
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let on_run = |_: &Run| {
        if seen.fetch_add(1, Ordering::SeqCst) == 1 {
            stop.store(true, Ordering::SeqCst);
        }
    };
    let first = run(&branin, &CompareSpec { on_run: Some(&on_run), ..spec.clone() }).unwrap();
    assert_eq!(values(&first), values(&whole[..2]));
    spec.stop.store(false, Ordering::SeqCst);
    let again = run(&branin, &spec).unwrap();
    assert_eq!(values(&again), values(&whole));
    assert_eq!(
        again[..2].iter().map(|run| &run.seconds).collect::<Vec<_>>(),
        first.iter().map(|run| &run.seconds).collect::<Vec<_>>()
    );
    assert_eq!(Study::open(&storage, Some("branin tpe 2")).unwrap().trials().unwrap().len(), 14);
    // More trials of the same studies: times go on where they were.
    let more = run(&branin, &CompareSpec { trials: 20, ..spec.clone() }).unwrap();
    for (more, again) in more.iter().zip(&again) {
        assert!(more.best.starts_with(&again.best) && more.seconds.starts_with(&again.seconds), "{more:?}");
        assert!(more.seconds[14] > again.seconds[13], "{more:?}");
    }
    assert!(more.iter().all(|run| run.best.len() == 20));
}

#[test]
fn trainings_on_data_are_a_problem_too() {
    let set = |settings: &mut Settings, name: &str, value: i64| settings.set(name, name, &Value::Int(value)).unwrap();
    let mut fixed = Settings::default();
    set(&mut fixed, "epochs", 1);
    let problem = DataProblem::new(SearchSpec { fixed, ..SearchSpec::new(DataSpec::new("digits")) }).unwrap();
    assert_eq!((problem.name(), problem.direction(), problem.landmarks()), ("digits", Direction::Maximize, None));
    let samplers = names(&["random", "qmc"]);
    let spec = CompareSpec { seeds: 2, trials: 3, jobs: 2, ..CompareSpec::new(&samplers) };
    let runs = run(&problem, &spec).unwrap();
    assert_eq!(values(&runs), values(&run(&problem, &CompareSpec { jobs: 1, ..spec }).unwrap()));
    assert!(runs.iter().all(|run| run.best.len() == 3 && run.seconds[0] > 0.0), "{runs:?}");
    // The default configuration is the first trial of every sampler on the same rows.
    assert_eq!((runs[0].best[0], runs[2].best[0]), (runs[1].best[0], runs[3].best[0]));
    assert_eq!(Report::new(&problem, &runs).unwrap().standings[0].regret, None);
}
