//! The dispatcher on a device that computes nothing: who shares a round, who waits, who hears of an error.

mod fake;

use super::products::{Pass, Products, Shape};
use super::*;
use crate::backend::{Member, Precision, Run, UpdateRule};
use crate::data::{Features, Targets};
use crate::model::{Activation, Criterion, Loss, ModelSpec, Plan};
use fake::{Fake, Seen};
use hpt_kernels::optimizer::Optimizer;
use std::sync::mpsc::channel;

const MIB: usize = 1 << 20;

fn dataset(rows: usize) -> Arc<Dataset> {
    let features = Features::F32(vec![0.5; rows * 3]);
    Arc::new(Dataset { rows, inputs: 3, features, targets: Targets::Classes { labels: vec![1; rows], classes: 2 } })
}

fn plan(units: usize) -> Plan {
    Plan::new(&ModelSpec::uniform(&[units], Activation::Tanh, 0.0), 3, 2).unwrap()
}

fn member<'a>(plan: &'a Plan, weights: &'a [f32], batch: usize) -> Member<'a> {
    let update =
        UpdateRule { optimizer: Optimizer::Sgd, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
    let criterion = Criterion { loss: Loss::CrossEntropy, label_smoothing: 0.0, class_weights: None };
    let precision = Precision::Highest;
    Member { plan, weights, batch_size: batch, criterion, update, seed: 0, slot: 0, precision }
}

fn open(make: impl FnOnce(&Arc<Mutex<Seen>>) -> Fake + Send + 'static) -> (Cuda, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let theirs = Arc::clone(&seen);
    let opener: Opener = Box::new(move || Ok(Box::new(make(&theirs)) as Box<dyn Driver>));
    (Cuda::with(vec![opener]).unwrap(), seen)
}

/// Another rate for each step and the next ones.
fn rates(steps: usize) -> Vec<f32> {
    (0..steps).map(|i| (1 + i % 61) as f32 / 2.0).collect()
}

/// Trains a model by that many steps from `first` on and returns its losses.
fn advance(cuda: &Cuda, cohort: &mut Cohort, data: &Data, first: u64, steps: usize, batch: usize) -> Result<Vec<f64>> {
    // The last batch is a smaller one where it can be.
    let rows: Vec<u32> = (0..(steps * batch - usize::from(batch > 1)) as u32).collect();
    let (rates, mut losses) = (rates(steps), vec![0.0; steps]);
    let run = Run { first_step: first, rows: &rows, batch_size: batch, rates: &rates, losses: &mut losses };
    cuda.advance(cohort, data, &mut [run]).map(|()| losses)
}

fn expected(plan: &Plan, first: u64, steps: usize, batch: usize) -> Vec<f64> {
    let rates = rates(steps);
    let loss = |i: usize| {
        let (row, rate) = (i * batch, f64::from(rates[i]));
        (first + i as u64) as f64 + 1e6 * row as f64 + rate / 64.0 + 1e12 * plan.parameters as f64
    };
    (0..steps).map(loss).collect()
}

/// Runs longer than the window, which goes on where it stopped, and steps with a last, smaller batch.
#[test]
fn every_step_gets_its_rows_and_its_rate() {
    let (cuda, seen) = open(|seen| Fake::new(64 * MIB, seen));
    let data = cuda.upload(dataset(50)).unwrap();
    // One has steps of fewer rows than its window is made for, and so more of them.
    for (most, batch, steps) in [(1, 1, 9000), (7, 7, 40), (40_000, 40_000, 5), (100_000, 100_000, 2), (64, 1, 3000)] {
        let (plan, weights) = (plan(5), vec![0.25; plan(5).parameters]);
        let mut cohort = cuda.begin(&[member(&plan, &weights, most)]).unwrap();
        assert_eq!(advance(&cuda, &mut cohort, &data, 3, steps, batch).unwrap(), expected(&plan, 3, steps, batch));
        assert_eq!(cuda.weights(&cohort, 0).unwrap(), weights);
        assert!(cuda.moments(&cohort, 0).unwrap().is_empty());
    }
    let rounds = seen.lock().unwrap().rounds.clone();
    assert_eq!(rounds.iter().map(|round| round.2).sum::<usize>(), 9000 + 40 + 5 + 2 + 3000);
    assert!(rounds.len() < 16, "a model alone has legs as long as its window: {rounds:?}");
}

/// Of many models a round goes by legs, each of which sends what is not there yet. Legs of so many are shorter than
/// what is sent at once, and do not divide the window: it begins anew where some of it has been sent already.
#[test]
fn rows_of_many_models_are_sent_leg_by_leg() {
    const STEPS: usize = 150;
    const MODELS: usize = 40;
    let (cuda, seen) = open(|seen| Fake::new(256 * MIB, seen));
    let (plan, data) = (plan(5), cuda.upload(dataset(10)).unwrap());
    let weights = vec![0.0; plan.parameters];
    let mut cohort = cuda.begin(&[(); MODELS].map(|()| member(&plan, &weights, 1000))).unwrap();
    let rows: Vec<u32> = (0..STEPS as u32 * 1000).collect();
    let (rates, mut losses) = (rates(STEPS), [[0.0; STEPS]; MODELS]);
    let of = |losses| Run { first_step: 7, rows: &rows, batch_size: 1000, rates: &rates, losses };
    let mut runs: Vec<Run<'_>> = losses.iter_mut().map(|losses| of(losses.as_mut_slice())).collect();
    // However long legs and transfers are: the first is how they are.
    let of = |leg: usize, piece: usize| Pace { first_leg: leg / 4, leg, piece, ..Pace::default() };
    for pace in [Pace::default(), of(4, 4), of(100_000, 1 << 20), of(1 << 30, 1 << 30)] {
        cuda.set_pace(pace);
        runs.iter_mut().for_each(|run| run.losses.fill(0.0));
        cuda.advance(&mut cohort, &data, &mut runs).unwrap();
        for run in &runs {
            assert_eq!(run.losses.to_vec(), expected(&plan, 7, STEPS, 1000), "{pace:?}");
        }
        seen.lock().unwrap().rounds.push((0, 0, 0));
    }
    let rounds = seen.lock().unwrap().rounds.clone();
    let legs: Vec<_> = rounds.split(|round| *round == (0, 0, 0)).map(|legs| legs.to_vec()).collect();
    assert!(legs[0].len() > 4 && legs[0].iter().all(|leg| leg.2 < STEPS / 2), "{legs:?}");
    // Of as many steps as their bytes allow, and of one in any case; networks that are known first may begin without
    // the others.
    let within = |legs: &[(usize, usize, usize)], bytes: usize| {
        let fits = |models: usize, steps: usize| steps == 1 || models * steps * 1000 * size_of::<u32>() <= bytes;
        legs.iter().all(|leg| fits(leg.0, leg.2))
            && legs.iter().map(|leg| leg.0 * leg.2).sum::<usize>() == MODELS * STEPS
    };
    assert!(within(&legs[1], 4) && within(&legs[2], 100_000) && legs[3][0].2 > legs[0][0].2, "{legs:?}");
}

#[test]
fn outputs_of_all_blocks_are_counted_once() {
    let (cuda, _) = open(|seen| Fake::new(8 * MIB, seen));
    let (plan, weights) = (plan(5), vec![0.0; plan(5).parameters]);
    let mut cohort = cuda.begin(&[member(&plan, &weights, 4)]).unwrap();
    for rows in [1, 2047, 2048, 2049, 300_000] {
        let data = cuda.upload(dataset(rows)).unwrap();
        // The fake's row losses are 1, and the mean is over the rows.
        assert_eq!(cuda.evaluate(&mut cohort, 0, &data, &mut vec![0.0; 2 * rows]).unwrap(), 1.0);
        let of = |cohort: &mut Cohort, detail| cuda.tally(cohort, 0, &data, detail).unwrap().unwrap();
        let right = rows as u64;
        assert_eq!(of(&mut cohort, Detail::Rows), (1.0, Tally { right, columns: vec![] }));
        let (rows, blocks) = (rows as f64, rows.div_ceil(2048) as f64);
        let column = |c: usize| [rows, rows * c as f64, blocks * plan.parameters as f64, blocks];
        assert_eq!(of(&mut cohort, Detail::Columns), (1.0, Tally { right, columns: vec![column(0), column(1)] }));
    }
    let none = cuda.upload(dataset(0)).unwrap();
    let (loss, tally) = cuda.tally(&mut cohort, 0, &none, Detail::Columns).unwrap().unwrap();
    assert_eq!((loss, tally), (0.0, Tally { right: 0, columns: vec![[0.0; 4]; 2] }));
}

/// Evaluations of several networks and datasets that wait together, each in its own detail, get what is theirs; and
/// where they do not fit together they go in groups.
#[test]
fn evaluations_that_come_together_keep_apart() {
    for memory in [8 * MIB, 64 * MIB] {
        let (word, gate) = channel();
        let (cuda, seen) = open(move |seen| Fake::new(memory, seen).gated(gate));
        let cuda = &cuda;
        let plans = [3, 5, 8].map(plan);
        let datasets = [1, 2049, 40_000].map(|rows| cuda.upload(dataset(rows)).unwrap());
        let weights = vec![0.0; plans[2].parameters];
        // Whoever begins waits for the device too, so that they all do before the gate is needed.
        let begin = |plan: &Plan| cuda.begin(&[member(plan, &weights[..plan.parameters], 4)]).unwrap();
        let all = plans.iter().flat_map(|plan| datasets.iter().map(move |data| (begin(plan), plan, data)));
        let (all, mut first): (Vec<_>, _) = (all.collect(), begin(&plans[0]));
        let asked = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            // One that is under way while the others come.
            let data = &datasets[0];
            let busy = scope.spawn(move || cuda.tally(&mut first, 0, data, Detail::Rows).unwrap());
            for (mut cohort, plan, data) in all {
                let detail = if plan.parameters % 4 == 0 { Detail::Columns } else { Detail::Rows };
                scope.spawn(move || {
                    let rows = data.as_ref().rows;
                    asked.fetch_add(1, Ordering::Relaxed);
                    let (loss, tally) = cuda.tally(&mut cohort, 0, data, detail).unwrap().unwrap();
                    assert_eq!((loss, tally.right), (1.0, rows as u64));
                    let (rows, blocks) = (rows as f64, rows.div_ceil(2048) as f64);
                    let column = |c: usize| [rows, rows * c as f64, blocks * plan.parameters as f64, blocks];
                    let columns = if detail == Detail::Columns { vec![column(0), column(1)] } else { vec![] };
                    assert_eq!(tally.columns, columns, "{} parameters, {rows} rows", plan.parameters);
                });
            }
            while asked.load(Ordering::Relaxed) < 9 {
                std::thread::yield_now();
            }
            (0..100).for_each(|_| word.send(()).unwrap());
            // Whoever needs more rounds than that hears of it.
            drop(word);
            busy.join().unwrap();
        });
        let seen = seen.lock().unwrap();
        assert!(seen.rounds.iter().any(|round| round.1 > 1), "none went together: {:?}", seen.rounds);
        assert!(seen.most <= memory);
    }
}

/// Of many classes the sums are most of what an evaluation of few rows takes: they are planned too.
#[test]
fn sums_of_many_columns_are_planned() {
    let classes = 1000;
    let (word, gate) = channel();
    let (cuda, _) = open(move |seen| Fake::new(80 * MIB, seen).gated(gate));
    let plan = Plan::new(&ModelSpec::uniform(&[1], Activation::Tanh, 0.0), 3, classes).unwrap();
    let weights = vec![0.0; plan.parameters];
    let few = Dataset { targets: Targets::Classes { labels: vec![1], classes }, ..(*dataset(1)).clone() };
    let data = cuda.upload(Arc::new(few)).unwrap();
    let mut cohorts: Vec<Cohort> = (0..260).map(|_| cuda.begin(&[member(&plan, &weights, 1)]).unwrap()).collect();
    let (cuda, data, asked) = (&cuda, &data, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (i, cohort) in cohorts.iter_mut().enumerate() {
            scope.spawn(move || {
                asked.fetch_add(1, Ordering::Relaxed);
                // What lies behind the planned memory, if something does, is read by these.
                if i % 2 == 0 {
                    assert_eq!(cuda.evaluate(cohort, 0, data, &mut vec![0.0; classes]).unwrap(), 1.0);
                    return;
                }
                let (_, tally) = cuda.tally(cohort, 0, data, Detail::Columns).unwrap().unwrap();
                let parameters = cohort.models[0].outputs as f64 * 2.0 + 4.0;
                let column = |c: usize| [1.0, c as f64, parameters, 1.0];
                assert!(tally.columns == (0..1000).map(column).collect::<Vec<_>>());
            });
        }
        while asked.load(Ordering::Relaxed) < 260 {
            std::thread::yield_now();
        }
        (0..100).for_each(|_| word.send(()).unwrap());
        drop(word);
    });
}

/// What grew has given back what it was.
#[test]
fn buffers_that_grow_give_back_what_they_were() {
    let (cuda, seen) = open(|seen| Fake::new(64 * MIB, seen));
    let (plan, data) = (plan(5), cuda.upload(dataset(10)).unwrap());
    let mut cohort = cuda.begin(&[member(&plan, &vec![0.0; plan.parameters], 1)]).unwrap();
    let mut held = |steps: usize| {
        assert_eq!(advance(&cuda, &mut cohort, &data, 0, steps, 1).unwrap(), expected(&plan, 0, steps, 1));
        seen.lock().unwrap().held
    };
    // 64 KiB of losses at the least, then powers of two; nothing else grows.
    let few = held(100);
    assert_eq!(held(20_000) - few, (256 << 10) - (64 << 10));
    assert_eq!(held(40_000) - few, (512 << 10) - (64 << 10));
}

/// Newcomers join the next round, models with few steps left do not make the rounds of the others short for ever, and
/// nobody who has asked waits for somebody who has not.
#[test]
fn models_share_rounds_and_newcomers_join() {
    const MANY: usize = 20_000;
    let (word, gate) = channel();
    let (cuda, seen) = open(|seen| Fake::new(64 * MIB, seen).gated(gate));
    let (cuda, plan) = (&cuda, &plan(5));
    let weights = vec![0.0; plan.parameters];
    let data = &cuda.upload(dataset(10)).unwrap();
    let begin = || cuda.begin(&[member(plan, &weights, 2)]).unwrap();
    let (mut first, mut second, mut third) = (begin(), begin(), begin());
    std::thread::scope(|scope| {
        let one = scope.spawn(|| advance(cuda, &mut first, data, 0, MANY, 2));
        word.send(()).unwrap();
        // The first has asked alone, so its first round is short; then the second one is there.
        while seen.lock().unwrap().rounds.is_empty() {
            std::thread::yield_now();
        }
        let two = scope.spawn(|| advance(cuda, &mut second, data, 0, 10, 2));
        let three = scope.spawn(|| advance(cuda, &mut third, data, 0, 30, 2));
        // One word a round until somebody has joined: the first has steps for more than a thousand rounds.
        let mut rounds = 1;
        while rounds < MANY / 16 && seen.lock().unwrap().rounds.iter().all(|round| round.0 == 1) {
            word.send(()).unwrap();
            rounds += 1;
            while seen.lock().unwrap().rounds.len() < rounds {
                std::thread::yield_now();
            }
        }
        (0..MANY).for_each(|_| word.send(()).unwrap());
        for (thread, steps) in [(one, MANY), (two, 10), (three, 30)] {
            assert_eq!(thread.join().unwrap().unwrap(), expected(plan, 0, steps, 2));
        }
    });
    let rounds = &seen.lock().unwrap().rounds;
    assert_eq!(rounds[0], (1, 0, 16), "while others are away a round is short: {rounds:?}");
    assert!(rounds.iter().any(|round| round.0 > 1), "nobody joined: {rounds:?}");
    let single: usize = rounds.iter().map(|round| round.2).sum();
    assert!((MANY..MANY + 32).contains(&single), "models train one after the other: {rounds:?}");
}

#[test]
fn what_does_not_fit_waits_and_what_never_fits_is_refused() {
    let (cuda, seen) = open(|seen| Fake::new(160 * MIB, seen));
    let plan = plan(60_000);
    let weights = vec![0.0; plan.parameters];
    let data = cuda.upload(dataset(10)).unwrap();
    // With two arenas of 1.4 MiB and activations of 9 MiB, four of them fit; those that adapt their rate have two
    // arenas more.
    std::thread::scope(|scope| {
        let train = |adapts: bool| {
            let mut member = member(&plan, &weights, 40);
            member.update.hypergradient = adapts.then_some(1e-3);
            let mut cohort = cuda.begin(&[member]).unwrap();
            let losses = advance(&cuda, &mut cohort, &data, 0, 20, 40).unwrap();
            // The memory for outputs is nobody's, however many have begun.
            assert_eq!(cuda.evaluate(&mut cohort, 0, &data, &mut [0.0; 20]).unwrap(), 1.0);
            losses
        };
        let threads: Vec<_> = (0..9).map(|i| scope.spawn(move || train(i % 2 == 1))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected(&plan, 0, 20, 40));
        }
    });
    let huge = Plan::new(&ModelSpec::uniform(&[2_000_000], Activation::Tanh, 0.0), 3, 2).unwrap();
    let message = cuda.begin(&[member(&huge, &vec![0.0; huge.parameters], 2)]).unwrap_err();
    let text = message.to_string();
    assert!(matches!(message, Error::TooLarge(_)) && text.contains("12000002 parameters"), "{text}");
    let data = cuda.upload(dataset(10 * MIB)).map(drop).unwrap_err().to_string();
    assert!(data.contains("a dataset of 10485760 rows") && data.contains("cuda:0 (Fake)"), "{data}");
    assert!(seen.lock().unwrap().most <= 160 * MIB);
}

#[test]
fn what_ends_gives_its_memory_back_and_equal_data_are_there_once() {
    let (cuda, seen) = open(|seen| Fake::new(64 * MIB, seen));
    let (plan, rows) = (plan(5), dataset(1000));
    let weights = vec![0.0; plan.parameters];
    let held = || seen.lock().unwrap().held;
    let first = cuda.upload(Arc::clone(&rows)).unwrap();
    let with_data = held();
    let again = cuda.upload(Arc::clone(&rows)).unwrap();
    assert_eq!((held(), first.0.id), (with_data, again.0.id));
    let cohort = cuda.begin(&[member(&plan, &weights, 2), member(&plan, &weights, 2)]).unwrap();
    assert!(held() > with_data);
    drop((cohort, first));
    // Something with an answer, behind what has none.
    let other = cuda.upload(dataset(1)).unwrap();
    assert_eq!(held(), with_data + 512);
    drop((again, other));
    drop(cuda.upload(dataset(2)).unwrap());
    let last = cuda.upload(dataset(2)).unwrap();
    assert_eq!(held(), 512);
    // Of what is planned, too: one after the other far more than there is.
    (0..20).for_each(|_| drop(cuda.upload(dataset(MIB)).unwrap()));
    (0..20).for_each(|_| drop(cuda.begin(&[member(&plan, &weights, 400_000)]).unwrap()));
    drop((last, cuda));
}

/// To the last byte, and no byte more.
#[test]
fn what_just_fits_fits() {
    // Of 64 MiB models and data may have 40.
    let (cuda, _) = open(|seen| Fake::new(64 * MIB, seen));
    drop(cuda.upload(dataset(40 * MIB / 16)).unwrap());
    assert!(matches!(cuda.upload(dataset(40 * MIB / 16 + 1)), Err(Error::TooLarge(_))));
}

/// Where another program has what was free, nothing of what was reserved in vain is kept.
#[test]
fn what_cannot_be_had_whole_is_not_had_in_part() {
    let (cuda, seen) = open(|seen| Fake::new(64 * MIB, seen).shared(40 * MIB));
    let plan = plan(5);
    let weights = vec![0.0; plan.parameters];
    let large = || member(&plan, &weights, 155_000);
    let bytes = Cuda::model_bytes(&large());
    assert!((8 * MIB + 1..=12 * MIB).contains(&bytes), "{bytes}");
    let error = cuda.begin(&[large(), large(), large()]).unwrap_err();
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("other programs use the GPU")), "{error}");
    assert_eq!(seen.lock().unwrap().held, 40 * MIB);
    let _fits = cuda.begin(&[large(), large()]).unwrap();
}

#[test]
fn outputs_that_never_fit_are_refused_before_anything_begins() {
    let (cuda, _) = open(|seen| Fake::new(8 * MIB, seen));
    let plan = Plan::new(&ModelSpec::uniform(&[1], Activation::Tanh, 0.0), 3, 1000).unwrap();
    let error = cuda.begin(&[member(&plan, &vec![0.0; plan.parameters], 1)]).unwrap_err();
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("the outputs of a network")), "{error}");
}

/// What an optimizer remembers is zero at first, slot by slot what it is given, and zero again where nothing is.
#[test]
fn moments_are_what_they_are_given() {
    let (cuda, _) = open(|seen| Fake::new(64 * MIB, seen));
    let (plan, data) = (plan(5), cuda.upload(dataset(10)).unwrap());
    let weights = vec![0.0; plan.parameters];
    let mut member = member(&plan, &weights, 2);
    (member.update.optimizer, member.update.hypergradient) = (Optimizer::by_name("adam").unwrap(), Some(1e-3));
    let mut cohort = cuda.begin(&[member]).unwrap();
    let zeros = vec![vec![0.0; plan.parameters]; 2];
    assert_eq!(cuda.moments(&cohort, 0).unwrap(), zeros);
    let given = vec![vec![1.5; plan.parameters], vec![2.5; plan.parameters]];
    cuda.set_moments(&mut cohort, 0, &given).unwrap();
    assert_eq!(cuda.moments(&cohort, 0).unwrap(), given);
    cuda.set_moments(&mut cohort, 0, &given[..1]).unwrap();
    assert_eq!(cuda.moments(&cohort, 0).unwrap(), [given[0].clone(), zeros[0].clone()]);
    cuda.set_moments(&mut cohort, 0, &[]).unwrap();
    assert_eq!(cuda.moments(&cohort, 0).unwrap(), zeros);
    // The same of what adapting adds to a rate; the fake adds nothing.
    advance(&cuda, &mut cohort, &data, 0, 3, 2).unwrap();
    assert_eq!(cuda.rate_offset(&cohort, 0), 0.0);
}

/// What is planned for outputs is what they take: a power of two in its place would be what models were promised.
#[test]
fn evaluations_take_what_was_planned_for_them() {
    let (cuda, seen) = open(|seen| Fake::new(160 * MIB, seen));
    let (plan, data) = (plan(5), cuda.upload(dataset(100)).unwrap());
    let mut cohort = cuda.begin(&[member(&plan, &vec![0.0; plan.parameters], 4)]).unwrap();
    let before = seen.lock().unwrap().held;
    cuda.evaluate(&mut cohort, 0, &data, &mut [0.0; 200]).unwrap();
    let taken = seen.lock().unwrap().most - before;
    assert!((20 * MIB..21 * MIB).contains(&taken), "{taken} bytes, of an eighth");
}

/// Asks from several threads of which each waits for the device, and one that comes too late.
fn everybody_hears(panics: bool, expected: &str) {
    let (cuda, _) = open(move |seen| Fake::new(64 * MIB, seen).failing(3, panics));
    let plan = plan(5);
    let weights = vec![0.0; plan.parameters];
    let data = cuda.upload(dataset(10)).unwrap();
    std::thread::scope(|scope| {
        let train = || {
            let mut cohort = cuda.begin(&[member(&plan, &weights, 2)])?;
            (0..100).try_for_each(|i| advance(&cuda, &mut cohort, &data, i, 50, 2).map(drop))
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(train)).collect();
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(matches!(&error, Error::Device(text) if text.contains(expected)), "{error}");
        }
    });
    let late = cuda.upload(dataset(3)).map(drop).unwrap_err().to_string();
    assert!(late.contains(expected), "{late}");
}

#[test]
fn an_error_of_the_device_reaches_everybody() {
    everybody_hears(false, "the fake has failed");
}

#[test]
fn a_panic_of_the_dispatcher_reaches_everybody() {
    everybody_hears(true, "on purpose");
}

#[test]
fn a_device_that_cannot_be_opened_says_why() {
    let opener: Opener = Box::new(|| Err(Error::Device("no such thing".into())));
    assert_eq!(Cuda::with(vec![opener]).unwrap_err().to_string(), "no such thing");
    let opener: Opener = Box::new(|| panic!("a symbol is missing"));
    assert!(Cuda::with(vec![opener]).unwrap_err().to_string().contains("a symbol is missing"));
}

#[test]
fn models_go_to_the_device_with_the_most_room() {
    let seen: Vec<_> = (0..2).map(|_| Arc::new(Mutex::new(Seen::default()))).collect();
    let opener = |seen: &Arc<Mutex<Seen>>| -> Opener {
        let seen = Arc::clone(seen);
        Box::new(move || Ok(Box::new(Fake::new(64 * MIB, &seen)) as Box<dyn Driver>))
    };
    let cuda = Cuda::with(seen.iter().map(opener).collect()).unwrap();
    let (plan, data) = (plan(5), cuda.upload(dataset(10)).unwrap());
    let weights = vec![0.0; plan.parameters];
    let mut cohorts: Vec<Cohort> = (0..4).map(|_| cuda.begin(&[member(&plan, &weights, 2)]).unwrap()).collect();
    for cohort in &mut cohorts {
        assert_eq!(advance(&cuda, cohort, &data, 0, 4, 2).unwrap(), expected(&plan, 0, 4, 2));
    }
    let rounds = seen.iter().map(|seen| seen.lock().unwrap().rounds.len());
    assert_eq!(rounds.collect::<Vec<_>>(), [2, 2]);
    assert_eq!(cuda.caps().device, "cuda:0");
    // What has ended is no load: one after the other goes to the first of them.
    let many = cuda.run_flops();
    drop(cohorts);
    assert_eq!(cuda.run_flops(), 4.0 * many);
    let mut kept = Vec::new();
    for _ in 0..3 {
        // Endings have no answer. Data has one of every device, behind them; it is kept, as its own end would have
        // none.
        kept.push(cuda.upload(dataset(1)).unwrap());
        let held = || [0, 1].map(|i: usize| seen[i].lock().unwrap().held);
        let empty = held();
        let cohort = cuda.begin(&[member(&plan, &weights, 2)]).unwrap();
        assert!(held()[0] > empty[0] && held()[1] == empty[1], "{:?} {empty:?}", held());
        drop(cohort);
    }
}

#[test]
fn tiles_depend_on_the_product_alone_and_precisions_never_fall() {
    assert_eq!(Shape::of(128, 10, 784), Shape::Narrow);
    assert_eq!(Shape::of(128, 256, 784), Shape::Small);
    assert_eq!(Shape::of(4096, 4096, 4096), Shape::Large);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let products = Products::of(&Fake::new(MIB, &seen));
    assert_eq!(products.precision(Precision::Medium), Precision::Highest);
    assert_eq!(products.kernel(Pass::Learn, [784, 256, 128], Precision::Medium).0, "learn_s");
    assert!(!products.has_groups());
}

/// Kernels of warpgroups are for large products of the precisions that they have, and can be left out.
#[test]
fn large_products_are_those_of_warpgroups_where_there_are_some() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let has =
        |name: &str| name.ends_with("_s") || name.contains("tf32") && (name.ends_with("_l") || name.ends_with("_g"));
    let products = Products::of(&Fake::new(MIB, &seen).having(has));
    assert!(products.has_groups());
    let of = |shape, precision| products.kernel(Pass::Backward, shape, precision);
    let large = [1024, 1024, 7];
    assert_eq!(of(large, Precision::Medium), ("backward_tf32_g", (128, 256)));
    assert_eq!(of(large, Precision::High), ("backward_tf32x3_g", (128, 128)));
    assert_eq!(of(large, Precision::Highest), ("backward_l", (128, 128)));
    assert_eq!(of([1023, 1024, 7], Precision::Medium), ("backward_tf32_s", (64, 64)));
    products.clone().take_groups(false);
    assert_eq!(of(large, Precision::Medium), ("backward_tf32_l", (128, 128)));
    assert_eq!(of(large, Precision::High), ("backward_tf32x3_l", (128, 128)));
}
