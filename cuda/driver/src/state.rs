//! What the driver keeps: GPUs, streams with what is queued on them, modules, graphs.

use hpt_ptxsim::{Kernel, Launch, Machine, Module, Options};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A result of the driver API.
pub(crate) type Status = u32;
pub(crate) const SUCCESS: Status = 0;
pub(crate) const INVALID_VALUE: Status = 1;
pub(crate) const OUT_OF_MEMORY: Status = 2;
pub(crate) const NOT_INITIALIZED: Status = 3;
pub(crate) const UNAVAILABLE: Status = 46;
pub(crate) const NO_DEVICE: Status = 100;
pub(crate) const INVALID_DEVICE: Status = 101;
pub(crate) const INVALID_CONTEXT: Status = 201;
pub(crate) const NO_BINARY: Status = 209;
pub(crate) const INVALID_PTX: Status = 218;
pub(crate) const UNSUPPORTED_PTX: Status = 222;
pub(crate) const INVALID_HANDLE: Status = 400;
pub(crate) const NOT_FOUND: Status = 500;
pub(crate) const ILLEGAL_STATE: Status = 401;
pub(crate) const CONTEXT_DESTROYED: Status = 709;
pub(crate) const LAUNCH_FAILED: Status = 719;
pub(crate) const NOT_SUPPORTED: Status = 801;
pub(crate) const CAPTURE_UNSUPPORTED: Status = 900;
pub(crate) const CAPTURE_INVALIDATED: Status = 901;
pub(crate) const CAPTURE_WRONG_THREAD: Status = 908;

/// Names and words of the results.
pub(crate) const WORDS: &[(Status, &str, &str)] = &[
    (SUCCESS, "CUDA_SUCCESS\0", "no error\0"),
    (INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE\0", "invalid argument\0"),
    (OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY\0", "out of memory\0"),
    (NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED\0", "initialization error\0"),
    (UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE\0", "CUDA-capable device(s) is/are busy or unavailable\0"),
    (NO_DEVICE, "CUDA_ERROR_NO_DEVICE\0", "no CUDA-capable device is detected\0"),
    (INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE\0", "invalid device ordinal\0"),
    (INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT\0", "invalid device context\0"),
    (NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU\0", "no kernel image is available for execution on the device\0"),
    (INVALID_PTX, "CUDA_ERROR_INVALID_PTX\0", "a PTX JIT compilation failed\0"),
    (
        UNSUPPORTED_PTX,
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION\0",
        "the provided PTX was compiled with an unsupported toolchain\0",
    ),
    (INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE\0", "invalid resource handle\0"),
    (NOT_FOUND, "CUDA_ERROR_NOT_FOUND\0", "named symbol not found\0"),
    (ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE\0", "the operation cannot be performed in the present state\0"),
    (CONTEXT_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED\0", "context is destroyed\0"),
    (NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED\0", "operation not supported\0"),
    (LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED\0", "unspecified launch failure\0"),
    (
        CAPTURE_UNSUPPORTED,
        "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED\0",
        "operation not permitted when stream is capturing\0",
    ),
    (
        CAPTURE_INVALIDATED,
        "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED\0",
        "operation failed due to a previous error during capture\0",
    ),
    (
        CAPTURE_WRONG_THREAD,
        "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD\0",
        "attempt to terminate a thread-local capture sequence from another thread\0",
    ),
];

/// One launch with its parameters as they were when it was asked for.
#[derive(Clone)]
pub(crate) struct Node {
    pub function: usize,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub params: Vec<u8>,
}

/// What waits on a stream. Addresses of the host are looked at when it is its turn.
pub(crate) enum Queued {
    Launch(Node),
    Up {
        to: u64,
        from: usize,
        bytes: usize,
        /// Of the bytes as they were when the copy was asked for.
        digest: u64,
    },
    Down {
        to: usize,
        from: u64,
        bytes: usize,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Fill {
        at: u64,
        value: u8,
        bytes: usize,
    },
    Free(u64),
    /// An event comes to pass: the number that it had when it was recorded.
    Record(u64),
    /// Nothing goes on before that number, which is recorded on that stream.
    Wait {
        stream: usize,
        number: u64,
    },
}

#[derive(Default)]
pub(crate) struct Stream {
    pub device: usize,
    pub queue: VecDeque<Queued>,
    /// The highest number that has come to pass.
    pub passed: u64,
    /// Launches that are captured, or why the capture came to nothing.
    pub capture: Option<Result<Vec<Node>, Status>>,
    /// The thread that captures …
    pub capturer: Option<std::thread::ThreadId>,
    /// … and whether others may call what is unsafe meanwhile.
    pub global: bool,
}

/// Pinned memory of the host.
pub(crate) struct Pinned {
    pub memory: Box<[u64]>,
    /// Reading it takes for ever, so that downloads to it are a mistake.
    pub combined: bool,
}

pub(crate) struct Event {
    pub device: usize,
    /// The stream that it was last recorded on, and its number there.
    pub last: Option<(usize, u64)>,
}

pub(crate) struct Function {
    pub module: usize,
    pub device: usize,
    pub kernel: Kernel,
    pub shared: u32,
    /// Whether it is on the device: a driver loads a kernel when it is first launched or asked about, which may wait
    /// for the device.
    pub loaded: bool,
}

pub(crate) struct Device {
    pub machine: Machine,
    pub sizes: HashMap<u64, usize>,
    pub used: usize,
    /// Of the first fault; nothing works after it.
    pub failed: Option<Status>,
    /// How often its primary context is retained; with none it does not exist.
    pub retained: usize,
}

pub(crate) struct State {
    pub devices: Vec<Device>,
    pub streams: HashMap<usize, Stream>,
    /// With the device that each is on.
    pub modules: HashMap<usize, (usize, Module)>,
    pub functions: HashMap<usize, Function>,
    pub graphs: HashMap<usize, Vec<Node>>,
    /// Graphs that can be launched.
    pub execs: HashMap<usize, Vec<Node>>,
    /// Whether `cuInit` was called.
    pub initialised: bool,
    pub events: HashMap<usize, Event>,
    /// By address.
    pub pinned: BTreeMap<usize, Pinned>,
    next: usize,
    launches: u64,
    records: u64,
    waits: u64,
}

thread_local! {
    /// The device whose context is current, counted from 1; 0 for none.
    pub(crate) static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// A number of the environment.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A GPU whose blocks and warps go in an order of that seed.
pub(crate) fn new_device(seed: u64) -> Device {
    // Races are looked for where it is asked for: everything takes longer.
    let races = setting("HPT_SIM_RACES", 0) != 0;
    let machine = Machine::new(Options { seed, races, ..Options::default() });
    Device { machine, sizes: HashMap::new(), used: 0, failed: None, retained: 0 }
}

pub(crate) fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    let state = STATE.get_or_init(|| {
        Mutex::new(State {
            devices: (0..setting("HPT_SIM_GPUS", 1)).map(new_device).collect(),
            streams: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            graphs: HashMap::new(),
            execs: HashMap::new(),
            initialised: false,
            events: HashMap::new(),
            pinned: BTreeMap::new(),
            next: 0x1000,
            launches: 0,
            records: 0,
            waits: 0,
        })
    });
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that other bytes hardly have.
pub(crate) fn digest_of(from: usize, bytes: usize) -> u64 {
    // SAFETY: whoever asks has seen that they lie in pinned memory.
    let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, bytes) };
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(0, |sum: u64, word| (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl State {
    /// A new handle.
    pub fn handle(&mut self) -> usize {
        self.next += 16;
        self.next
    }

    /// The device that is current in this thread.
    pub fn current(&mut self) -> Result<usize, Status> {
        match CURRENT.get().checked_sub(1) {
            Some(device) if self.devices[device].retained == 0 => Err(CONTEXT_DESTROYED),
            Some(device) => self.devices[device].failed.map_or(Ok(device), Err),
            None => Err(INVALID_CONTEXT),
        }
    }

    /// A stream that may be asked for something in this thread.
    pub fn stream(&mut self, handle: usize) -> Result<&mut Stream, Status> {
        let current = self.current()?;
        let stream = self.streams.get_mut(&handle).ok_or(INVALID_HANDLE)?;
        if stream.device == current { Ok(stream) } else { Err(INVALID_CONTEXT) }
    }

    /// Puts something on a stream; nothing but launches may be captured.
    pub fn queue(&mut self, handle: usize, queued: Queued) -> Result<(), Status> {
        let stream = self.stream(handle)?;
        match (&mut stream.capture, queued) {
            (Some(Ok(nodes)), Queued::Launch(node)) => nodes.push(node),
            (Some(Err(status)), _) => return Err(*status),
            (Some(capture), _) => {
                *capture = Err(CAPTURE_INVALIDATED);
                return Err(CAPTURE_UNSUPPORTED);
            }
            (None, queued) => stream.queue.push_back(queued),
        }
        Ok(())
    }

    /// The pinned memory that holds all of these bytes.
    pub fn pinned(&self, from: usize, bytes: usize) -> Option<&Pinned> {
        let (start, pinned) = self.pinned.range(..=from).next_back()?;
        (from + bytes <= start + 8 * pinned.memory.len()).then_some(pinned)
    }

    /// Puts a launch on a stream of the function's device. In a capture the function has to be on the device already.
    pub fn launch(&mut self, stream: usize, node: Node) -> Result<(), Status> {
        let device = self.stream(stream)?.device;
        let captures = self.stream(stream)?.capture.is_some();
        let function = self.functions.get_mut(&node.function).ok_or(INVALID_HANDLE)?;
        if function.device != device {
            return Err(INVALID_HANDLE);
        }
        if captures && !function.loaded {
            self.stream(stream)?.capture = Some(Err(CAPTURE_INVALIDATED));
            return Err(CAPTURE_UNSUPPORTED);
        }
        function.loaded = true;
        self.queue(stream, Queued::Launch(node))
    }

    /// Gives up a hold of a device's primary context; with the last one everything in it ends.
    pub fn leave(&mut self, device: usize) -> Result<(), Status> {
        let of_device = &mut self.devices[device];
        of_device.retained = of_device.retained.checked_sub(1).ok_or(INVALID_CONTEXT)?;
        if of_device.retained > 0 {
            return Ok(());
        }
        for (address, _) in of_device.sizes.drain() {
            // Of a device that has failed nothing is said twice.
            let _ = of_device.machine.free(address);
        }
        of_device.used = 0;
        let streams = self.streams.extract_if(|_, stream| stream.device == device).count();
        let events = self.events.extract_if(|_, event| event.device == device).count();
        let modules = self.modules.extract_if(|_, module| module.0 == device).count();
        let functions = &self.functions;
        let of =
            |nodes: &[Node]| nodes.iter().any(|node| functions.get(&node.function).is_none_or(|f| f.device == device));
        let graphs = self.graphs.extract_if(|_, nodes| of(nodes)).count();
        let execs = self.execs.extract_if(|_, nodes| of(nodes)).count();
        self.functions.retain(|_, function| function.device != device);
        if streams + events + modules + graphs + execs > 0 {
            eprintln!(
                "simulated GPU: left behind: {streams} streams, {events} events, {modules} modules, {} graphs",
                graphs + execs
            );
        }
        Ok(())
    }

    /// What a driver may wait for the whole device in: refused in a thread that captures, and the capture is lost.
    pub fn unsafe_call(&mut self) -> Result<(), Status> {
        let here = Some(std::thread::current().id());
        let mut captures =
            self.streams.values_mut().filter(|s| s.capture.is_some() && (s.global || s.capturer == here));
        match captures.next() {
            Some(stream) => {
                stream.capture = Some(Err(CAPTURE_INVALIDATED));
                Err(CAPTURE_UNSUPPORTED)
            }
            None => Ok(()),
        }
    }

    /// Records an event on a stream.
    pub fn record(&mut self, event: usize, stream: usize) -> Result<(), Status> {
        let device = self.stream(stream)?.device;
        if self.events.get(&event).is_none_or(|event| event.device != device) {
            return Err(INVALID_HANDLE);
        }
        self.records += 1;
        let number = self.records;
        self.queue(stream, Queued::Record(number))?;
        self.events.insert(event, Event { device, last: Some((stream, number)) });
        Ok(())
    }

    /// Does what waits on a stream, as somebody waits for it. What is on other streams of the device and may be done by
    /// then is done before, or not until it is waited for, by turns: a real device does either.
    pub fn drain(&mut self, handle: usize) -> Result<(), Status> {
        self.drain_to(handle, u64::MAX)
    }

    /// Does what waits on a stream up to the record of that number.
    pub fn drain_to(&mut self, handle: usize, number: u64) -> Result<(), Status> {
        let stream = self.stream(handle)?;
        if let Some(capture) = &mut stream.capture {
            *capture = Err(CAPTURE_INVALIDATED);
            return Err(CAPTURE_UNSUPPORTED);
        }
        let device = stream.device;
        self.waits += 1;
        if self.waits.is_multiple_of(2) {
            let others: Vec<usize> = self
                .streams
                .iter()
                .filter(|(other, s)| **other != handle && s.device == device)
                .map(|s| *s.0)
                .collect();
            others.into_iter().try_for_each(|other| self.go_on(other, u64::MAX, false))?;
        }
        self.go_on(handle, number, true)
    }

    /// Does what waits on a stream up to a record; before a number of another stream that has not come to pass it
    /// stops, or sees to that one first.
    fn go_on(&mut self, handle: usize, number: u64, sees: bool) -> Result<(), Status> {
        while let Some(stream) = self.streams.get_mut(&handle).filter(|stream| stream.passed < number) {
            let device = stream.device;
            let Some(queued) = stream.queue.pop_front() else { return Ok(()) };
            match queued {
                Queued::Record(number) => stream.passed = number,
                Queued::Wait { stream: other, number } => {
                    let passed = self.streams.get(&other).is_none_or(|other| other.passed >= number);
                    if !passed && sees {
                        self.go_on(other, number, true)?;
                    } else if !passed {
                        let stream = self.streams.get_mut(&handle).ok_or(INVALID_HANDLE)?;
                        stream.queue.push_front(Queued::Wait { stream: other, number });
                        return Ok(());
                    }
                }
                queued => {
                    if let Err(fault) = self.perform(device, queued) {
                        eprintln!("simulated GPU: {fault}");
                        self.devices[device].failed = Some(LAUNCH_FAILED);
                        return Err(LAUNCH_FAILED);
                    }
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, device: usize, queued: Queued) -> Result<(), String> {
        match queued {
            Queued::Up { from, bytes, digest, .. } => match self.pinned(from, bytes) {
                None => {
                    return Err(format!("{bytes} bytes of pinned memory were freed before their upload was through"));
                }
                Some(_) if digest != digest_of(from, bytes) => {
                    return Err(format!("{bytes} bytes of pinned memory have changed before their upload was through"));
                }
                Some(_) => {}
            },
            Queued::Down { to, bytes, .. } if self.pinned(to, bytes).is_none() => {
                return Err(format!("{bytes} bytes of pinned memory were freed before their download was through"));
            }
            _ => {}
        }
        let State { devices, functions, launches, .. } = self;
        let Device { machine, sizes, used, .. } = &mut devices[device];
        let done = match queued {
            Queued::Launch(Node { function, grid, block, shared, params }) => {
                *launches += 1;
                if *launches > setting("HPT_SIM_FAILS", u64::MAX) {
                    return Err("a kernel fails, as was asked for".to_owned());
                }
                let kernel = &functions.get(&function).ok_or("the function's module is gone")?.kernel;
                let launch = Launch { grid, block, shared_bytes: shared, params: &params };
                machine.launch(kernel, launch).map(drop)
            }
            Queued::Up { to, from, bytes, .. } => {
                // SAFETY: they lie in pinned memory; see above.
                machine.write(to, unsafe { std::slice::from_raw_parts(from as *const u8, bytes) })
            }
            Queued::Down { to, from, bytes } => {
                // SAFETY: as above.
                machine.read(from, unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) })
            }
            Queued::Copy { to, from, bytes } => machine.copy(to, from, bytes),
            Queued::Fill { at, value, bytes } => machine.fill(at, bytes, value),
            Queued::Free(address) => {
                *used -= sizes.remove(&address).unwrap_or(0);
                machine.free(address)
            }
            Queued::Record(_) | Queued::Wait { .. } => Ok(()),
        };
        done.map_err(|fault| fault.to_string())
    }
}
