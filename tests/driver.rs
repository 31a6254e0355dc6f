//! What the backend asks of NVIDIA's driver, call by call, on the driver library that is an interpreter: uploads
//! through pinned memory, streams that wait for one another, graphs, shared memory, what is given back.
//!
//! A library of that name is found where `LD_LIBRARY_PATH` says when a process begins, so each test runs itself again
//! with it (`there`); that process must come to its end in silence, since the library says what a GPU would not
//! forgive. The kernel `tick` adds one to a number: so it shows what happened, how often and in which order.

use hpt_engine::backend::cuda::Nvidia;
use hpt_engine::backend::cuda::descriptor::{Address, Tables};
use hpt_engine::backend::cuda::driver::{Driver, Launch};
use std::process::Command;

/// Runs the work in processes of its own that have the library, with each of these environments; it says nothing.
fn there(test: &str, environments: &[&[(&str, &str)]], work: impl Fn()) {
    for said in heard(test, environments, work) {
        assert!(!said.contains("simulated GPU"), "{said}");
    }
}

/// The same, and what it says.
fn heard(test: &str, environments: &[&[(&str, &str)]], work: impl Fn()) -> Vec<String> {
    const CHILD: &str = "HPT_TEST_DRIVER";
    if std::env::var_os(CHILD).is_some() {
        work();
        return Vec::new();
    }
    let program = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = program.parent().unwrap().join("libhpt_simdriver.so");
    std::os::unix::fs::symlink(library, folder.path().join("libcuda.so")).unwrap();
    let run = |environment: &&[(&str, &str)]| {
        let mut command = Command::new(&program);
        command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(CHILD, "1");
        command.env("LD_LIBRARY_PATH", folder.path()).envs(environment.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{environment:?}: {said}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "no test is called {test}");
        said
    };
    environments.iter().map(run).collect()
}

/// A GPU whose memory comes from a pool, and one that has none.
const POOLS: &[&[(&str, &str)]] = &[&[], &[("HPT_SIM_POOLS", "0")]];

fn tick(at: Address) -> Launch {
    let tables = Tables { tick: at, ..Tables::default() };
    Launch { kernel: "tick", blocks: 1, shared: 0, tables }
}

fn number(gpu: &mut Nvidia, at: Address) -> u32 {
    let mut bytes = [0; 4];
    gpu.read(at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

fn set(gpu: &mut Nvidia, at: Address, number: u32) {
    gpu.write(at, &number.to_le_bytes()).unwrap();
}

/// So many bytes, others for each seed.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let word = |i: usize| (i as u64 ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..count.div_ceil(8)).flat_map(word).take(count).collect()
}

/// More than the pinned memory holds, in pieces that fill its parts to the last byte and almost: the caller's bytes
/// change at once, and nothing waits for what is on its way but the driver itself.
#[test]
fn uploads_arrive_as_they_were_however_many_are_under_way() {
    there("uploads_arrive_as_they_were_however_many_are_under_way", POOLS, || {
        const PART: usize = 4 << 20;
        let mut gpu = Nvidia::open(0).unwrap();
        let lengths = [PART - 64, 100, PART, 1, PART - 100, 90, 3 * PART + 17, 64, PART - 128, 128, 65, PART / 2, 5000];
        let sizes: Vec<usize> = lengths.into_iter().cycle().take(5 * lengths.len()).collect();
        let all = sizes.iter().sum();
        assert!(all > 64 << 20 && sizes.len() > 16);
        let base = gpu.allocate(all).unwrap().unwrap();
        let mut whole = Vec::with_capacity(all);
        for (i, &size) in sizes.iter().enumerate() {
            let mut piece = bytes(size, i as u64);
            gpu.write(base + whole.len() as Address, &piece).unwrap();
            whole.extend_from_slice(&piece);
            piece.fill(0);
        }
        // A download longer than what it goes through, at an odd place.
        let mut back = vec![0; all - 5];
        gpu.read(base + 5, &mut back).unwrap();
        assert!(back == whole[5..]);
        // After a wait the memory is used from where it was.
        for round in 0..3 {
            let piece = bytes(PART / 2 + round, 99 + round as u64);
            gpu.write(base, &piece).unwrap();
            gpu.synchronize().unwrap();
            gpu.read(base, &mut back[..piece.len()]).unwrap();
            assert!(back[..piece.len()] == piece, "{round}");
        }
        gpu.release(base).unwrap();
    });
}

/// Whoever uploads waits for uploads of long ago and for nothing that was asked after them: a kernel that fails is
/// heard of later. (What a failed GPU says belongs to this test.)
#[test]
fn uploads_do_not_wait_for_what_was_launched_after_them() {
    let test = "uploads_do_not_wait_for_what_was_launched_after_them";
    let said = heard(test, &[&[]], || {
        let mut gpu = Nvidia::open(0).unwrap();
        let base = gpu.allocate(64 << 20).unwrap().unwrap();
        gpu.write(base, &bytes(64 << 20, 1)).unwrap();
        gpu.repeat(&[tick(64)], 1).unwrap();
        // Each of these needs a part that was sent before the launch.
        (0..8).for_each(|i| gpu.write(base, &bytes(4 << 20, i)).unwrap());
        let error = gpu.synchronize().unwrap_err().to_string();
        assert!(error.contains("CUDA_ERROR_LAUNCH_FAILED"), "{error}");
    });
    assert!(said.iter().all(|said| said.contains("simulated GPU: OutOfBounds")), "{said:?}");
}

/// What runs beside begins after what was asked before, and everything but launches comes after it.
#[test]
fn what_runs_beside_is_waited_for() {
    there("what_runs_beside_is_waited_for", POOLS, || {
        let mut gpu = Nvidia::open(0).unwrap();
        // The library does what is not waited for early or late, by turns: both come up.
        for round in 0..6 {
            let [a, b, c] = [(); 3].map(|()| gpu.allocate(256).unwrap().unwrap());
            set(&mut gpu, a, 10);
            gpu.beside(&[tick(a), tick(a)]).unwrap();
            set(&mut gpu, b, 20);
            assert_eq!((number(&mut gpu, a), number(&mut gpu, b)), (12, 20), "{round}");
            gpu.beside(&[tick(a)]).unwrap();
            gpu.repeat(&[tick(b), tick(b)], 3).unwrap();
            assert_eq!(number(&mut gpu, a), 13, "{round}: a download");
            assert_eq!(number(&mut gpu, b), 26, "{round}");
            gpu.beside(&[tick(a)]).unwrap();
            set(&mut gpu, a, 40);
            assert_eq!(number(&mut gpu, a), 40, "{round}: an upload");
            gpu.beside(&[tick(a)]).unwrap();
            gpu.copy(c, a, 4).unwrap();
            gpu.beside(&[tick(c)]).unwrap();
            gpu.zero(a, 4).unwrap();
            assert_eq!((number(&mut gpu, a), number(&mut gpu, c)), (0, 42), "{round}: a copy and zeros");
            set(&mut gpu, a, 70);
            gpu.copy(c, a, 4).unwrap();
            gpu.zero(a, 4).unwrap();
            assert_eq!((number(&mut gpu, a), number(&mut gpu, c)), (0, 70), "{round}: what is asked in a row");
            gpu.zero(b, 4).unwrap();
            gpu.beside(&[tick(b)]).unwrap();
            gpu.beside(&[tick(b)]).unwrap();
            gpu.synchronize().unwrap();
            gpu.beside(&[tick(b), tick(a)]).unwrap();
            // Memory that it still uses, and what may come to lie there.
            gpu.release(b).unwrap();
            let again = gpu.allocate(256).unwrap().unwrap();
            gpu.zero(again, 256).unwrap();
            assert_eq!((number(&mut gpu, again), number(&mut gpu, a)), (0, 1), "{round}: memory that is given back");
            [a, again, c].into_iter().for_each(|at| gpu.release(at).unwrap());
        }
        gpu.beside(&[]).unwrap();
        gpu.synchronize().unwrap();
    });
}

/// A step is captured once and made as often as is asked, and anew where it is another; kernels are loaded before.
#[test]
fn steps_are_repeated_as_often_as_is_asked() {
    there("steps_are_repeated_as_often_as_is_asked", POOLS, || {
        let mut gpu = Nvidia::open(0).unwrap();
        let [a, b] = [(); 2].map(|()| gpu.allocate(1024).unwrap().unwrap());
        [a, b].into_iter().for_each(|at| gpu.zero(at, 1024).unwrap());
        let both = |gpu: &mut Nvidia| (number(gpu, a), number(gpu, b));
        gpu.repeat(&[tick(a), tick(b)], 3).unwrap();
        assert_eq!(both(&mut gpu), (3, 3));
        gpu.repeat(&[tick(a), tick(a)], 2).unwrap();
        assert_eq!(both(&mut gpu), (7, 3), "as many launches, but others");
        gpu.repeat(&[tick(a), tick(a)], 1).unwrap();
        gpu.repeat(&[tick(b)], 5).unwrap();
        gpu.repeat(&[tick(b), tick(b), tick(a)], 0).unwrap();
        assert_eq!(both(&mut gpu), (9, 8));
        // A kernel of a module that is there, but is not on the device yet.
        let layout = Launch { kernel: "layout", ..tick(b) };
        gpu.repeat(&[layout, tick(a)], 2).unwrap();
        assert_eq!(number(&mut gpu, a), 11);
        assert!(gpu.repeat(&[Launch { kernel: "tock", ..tick(a) }], 1).is_err_and(|e| e.to_string().contains("tock")));
    });
}

/// More than 48 KiB of shared memory is asked for before, again where it is more, up to what the GPU has.
#[test]
fn shared_memory_is_asked_for() {
    let gpus: &[&[(&str, &str)]] =
        &[&[], &[("HPT_SIM_CAPABILITY", "75")], &[("HPT_SIM_CAPABILITY", "80")], &[("HPT_SIM_CAPABILITY", "86")]];
    there("shared_memory_is_asked_for", gpus, || {
        let mut gpu = Nvidia::open(0).unwrap();
        let a = gpu.allocate(4).unwrap().unwrap();
        gpu.zero(a, 4).unwrap();
        let most = gpu.limits().shared as u32;
        let with = |shared| Launch { shared, ..tick(a) };
        for shared in [50 << 10, 60 << 10, 40 << 10, most] {
            gpu.repeat(&[with(shared), with(shared)], 2).unwrap();
        }
        gpu.beside(&[with(most)]).unwrap();
        assert_eq!(number(&mut gpu, a), 17);
        let error = gpu.repeat(&[with(most + 4)], 1).unwrap_err().to_string();
        assert!(error.contains(&format!("{} bytes of shared memory", most + 4)), "{error}");
    });
}

/// Memory that is not there is no error, and what a GPU had is there again for the next who opens it.
#[test]
fn a_gpu_is_given_back_whole() {
    there("a_gpu_is_given_back_whole", POOLS, || {
        for round in 0..3 {
            let mut gpu = Nvidia::open(0).unwrap();
            assert_eq!(gpu.limits().free, 1 << 30, "{round}");
            let most = gpu.allocate(1000 << 20).unwrap().unwrap();
            assert_eq!(gpu.allocate(100 << 20).unwrap(), None);
            gpu.release(most).unwrap();
            gpu.synchronize().unwrap();
            let again = gpu.allocate(900 << 20).unwrap().unwrap();
            gpu.zero(again, 4).unwrap();
            // Under way when it is dropped.
            gpu.write(again, &bytes(5 << 20, 1)).unwrap();
            gpu.repeat(&[tick(again), tick(again)], 2).unwrap();
            if round == 0 {
                gpu.beside(&[tick(again + 4)]).unwrap();
            }
        }
    });
}

/// Two GPUs, each with a thread of its own: one captures while the other reserves memory.
#[test]
fn gpus_do_not_hold_each_other_back() {
    there("gpus_do_not_hold_each_other_back", &[&[("HPT_SIM_GPUS", "2")]], || {
        let work = |index: usize| {
            let mut gpu = Nvidia::open(index).unwrap();
            let a = gpu.allocate(4).unwrap().unwrap();
            gpu.zero(a, 4).unwrap();
            for round in 0..300 {
                // Of another length each time, so captured anew.
                gpu.repeat(&vec![tick(a); 2 + round % 50], 2).unwrap();
                let more = gpu.allocate(512).unwrap().unwrap();
                gpu.release(more).unwrap();
            }
            assert_eq!(number(&mut gpu, a), (0..300).map(|round| 2 * (2 + round % 50)).sum::<u32>());
        };
        std::thread::scope(|scope| (0..2).for_each(|i| drop(scope.spawn(move || work(i)))));
    });
}
