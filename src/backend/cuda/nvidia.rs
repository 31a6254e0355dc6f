//! A GPU through NVIDIA's driver, which is opened when the program runs.
//!
//! The raw calls of cudarc on one stream, and another for what may run beside it: its safe layer keeps events and
//! references of every buffer, which a single thread that owns everything needs none of. A missing library, a missing
//! function or an old driver are errors; nothing here panics. Uploads go through pinned memory (`staging.rs`), so that
//! they return at once and the caller's bytes may change; repeated launches are captured into a graph, which costs the
//! host one call a step.

use super::descriptor::{Address, Tables};
use super::driver::{Driver, Launch, Limits};
use super::modules::{Module, suitable};
use super::staging::Staging;
use crate::{Error, Result};
use cudarc::driver::result::{self, event, function, graph, mem_pool, module, primary_ctx, stream};
use cudarc::driver::{DriverError, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr::null_mut;

/// Bytes of the pinned memory that downloads go through.
const DOWN: usize = 16 << 20;
/// The oldest driver that has all functions: CUDA 11.4.
const OLDEST: i32 = 11_040;
/// What to tell whose driver is older.
const NEEDED: &str = "at least 11.4 is needed, which is NVIDIA's driver of branch 470 or newer";

/// Functions of the driver that are called here, each of which may be missing in a library that is too old.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuStreamCreate",
    "cuStreamCreateWithPriority",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuStreamWaitEvent",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventDestroy_v2",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuDeviceGetDefaultMemPool",
    "cuMemPoolSetAttribute",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
];

/// How far the way to the driver goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Presence {
    /// There is no library.
    Absent,
    /// It cannot be used, and why.
    Useless(String),
    /// It is there, of this CUDA version (12040 is 12.4), with so many GPUs.
    Ready { version: i32, count: usize },
}

/// Looks for the driver.
pub(super) fn presence() -> Presence {
    // SAFETY: the call only looks for the driver's library.
    if !unsafe { sys::is_culib_present() } {
        return Presence::Absent;
    }
    // SAFETY: the library is there, and what is looked up is not called here.
    let has = |name: &&&str| unsafe { sys::culib().get::<*const c_void>(name.as_bytes()) }.is_ok();
    if let Some(missing) = FUNCTIONS.iter().find(|name| !has(name)) {
        return Presence::Useless(format!("the CUDA driver has no {missing}: it is too old, {NEEDED}"));
    }
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    let asked = result::init().and_then(|()| unsafe { sys::cuDriverGetVersion(&mut version) }.result());
    match asked.and_then(|()| result::device::get_count()) {
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Presence::Ready { version, count: 0 },
        Err(error) => Presence::Useless(format!("the CUDA driver fails: {}", text_of(error))),
        Ok(_) if version < OLDEST => {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            Presence::Useless(format!("the CUDA driver is of version {major}.{minor}; {NEEDED}"))
        }
        Ok(count) => Presence::Ready { version, count: usize::try_from(count).unwrap_or(0) },
    }
}

/// The driver's words for an error, with what helps where it is known.
pub(super) fn text_of(error: DriverError) -> String {
    use sys::CUresult as E;
    let words = |text: Result<&std::ffi::CStr, DriverError>| text.map(|text| text.to_string_lossy().into_owned());
    let name = words(error.error_name()).unwrap_or_else(|_| format!("error {}", error.0 as u32));
    let text = words(error.error_string()).unwrap_or_default();
    let help = match error.0 {
        E::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => "; the driver is older than the kernels, a newer one helps",
        E::CUDA_ERROR_OUT_OF_MEMORY => "; another program may use the GPU",
        E::CUDA_ERROR_DEVICE_UNAVAILABLE => {
            "; another program has it for itself, or nobody may use it (nvidia-smi -q -d COMPUTE says which)"
        }
        E::CUDA_ERROR_STUB_LIBRARY => "; the library found is the toolkit's stub: the driver's own has to come first",
        E::CUDA_ERROR_ECC_UNCORRECTABLE => "; the GPU's memory is broken: a reset or another GPU helps",
        E::CUDA_ERROR_ILLEGAL_ADDRESS | E::CUDA_ERROR_LAUNCH_FAILED => {
            "; a kernel failed: this is an error of this program, please report it"
        }
        E::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => "; the driver was updated: load it anew or reboot",
        _ => "",
    };
    format!("{text} ({name}){help}")
}

/// A module of kernels; the driver takes seconds to translate one, so it is loaded when one of them is wanted.
struct Source {
    module: &'static Module,
    handle: Option<sys::CUmodule>,
}

/// A kernel as it is launched.
struct Function {
    /// The index of its module.
    source: usize,
    /// None until it is wanted.
    handle: Option<sys::CUfunction>,
    threads: u32,
    /// Dynamic shared memory that was asked for. What needs no word before depends on what the kernel has of its own.
    shared: u32,
}

/// The launches of a step as a graph.
struct Captured {
    launches: Vec<Launch>,
    exec: sys::CUgraphExec,
}

/// A GPU. Everything is of the thread that made it.
pub struct Nvidia {
    limits: Limits,
    device: sys::CUdevice,
    stream: sys::CUstream,
    sources: Vec<Source>,
    kernels: HashMap<&'static str, Function>,
    up: Staging,
    /// Pinned, of [`DOWN`] bytes.
    down: *mut u8,
    /// What runs at the same time as the stream …
    side: sys::CUstream,
    /// … begins after this and is waited for by that; whether there is something to wait for.
    forked: sys::CUevent,
    joined: sys::CUevent,
    apart: bool,
    /// Whether memory comes from a pool, in the order of the stream.
    pooled: bool,
    captured: Option<Captured>,
}

impl std::fmt::Debug for Nvidia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nvidia").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What went wrong with a GPU.
fn failed(device: &str, what: &str, error: DriverError) -> Error {
    Error::Device(format!("{device}: {what}: {}", text_of(error)))
}

impl Nvidia {
    /// The GPU of that number, ready to work.
    ///
    /// # Errors
    /// There is no driver or no such GPU, no module suits it, or the driver fails.
    pub fn open(index: usize) -> Result<Self> {
        let label = format!("cuda:{index}");
        let version = match presence() {
            Presence::Ready { version, count } if index < count => version,
            Presence::Useless(why) => return Err(Error::Device(format!("{label}: {why}"))),
            Presence::Absent | Presence::Ready { .. } => {
                return Err(Error::Device(format!("{label}: there is no such GPU")));
            }
        };
        let fail = |what: &'static str| {
            let label = label.clone();
            move |error| failed(&label, what, error)
        };
        let device = result::device::get(index as i32).map_err(fail("cannot be opened"))?;
        let name = result::device::get_name(device).map_err(fail("has no name"))?;
        let capability = capability(device).map_err(fail("does not say what it can"))?;
        let modules: Vec<&'static Module> = suitable(capability, version).collect();
        let Some(best) = modules.first() else {
            let (major, minor) = capability;
            return Err(Error::Device(format!(
                "{label} ({name}): compute capability {major}.{minor} is not supported; 7.5 is the least"
            )));
        };
        // SAFETY: the device is the driver's; its context stays current in this thread, which is the only one to use
        // it.
        let stream = unsafe {
            let context = primary_ctx::retain(device).map_err(fail("cannot be used"))?;
            result::ctx::set_current(context).map_err(fail("cannot be used"))?;
            // Where both have work that fits, what is launched step by step goes first: nothing else of a round waits
            // for it.
            stream::create_with_priority(stream::StreamKind::NonBlocking, -1).map_err(fail("cannot be used"))?
        };
        // SAFETY: the device is the driver's.
        let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
        use sys::CUdevice_attribute as Of;
        let shared = attribute(Of::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN).map_err(fail("fails"))?;
        let multiprocessors = attribute(Of::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).map_err(fail("fails"))?;
        let pooled = attribute(Of::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED).is_ok_and(|has| has != 0);
        let limits = Limits {
            device: label.clone(),
            name,
            module: best.name.to_owned(),
            free: 0,
            shared: usize::try_from(shared).unwrap_or(0),
            multiprocessors: u32::try_from(multiprocessors).unwrap_or(1).max(1),
        };
        // From here on what is made is given back by `drop`.
        let mut gpu = Nvidia {
            limits,
            device,
            stream,
            sources: Vec::new(),
            kernels: HashMap::new(),
            up: Staging::default(),
            down: null_mut(),
            side: null_mut(),
            forked: null_mut(),
            joined: null_mut(),
            apart: false,
            pooled,
            captured: None,
        };
        modules.into_iter().for_each(|module| gpu.offer(module));
        gpu.prepare_side().map_err(|e| gpu.failed("cannot be used", e))?;
        gpu.prepare_memory()?;
        Ok(gpu)
    }

    fn failed(&self, what: &str, error: DriverError) -> Error {
        failed(&format!("{} ({})", self.limits.device, self.limits.name), what, error)
    }

    /// Takes the kernels of a module that no earlier one has.
    fn offer(&mut self, module: &'static Module) {
        let source = self.sources.len();
        self.sources.push(Source { module, handle: None });
        for (name, threads) in module.kernels() {
            self.kernels.entry(name).or_insert(Function { source, handle: None, threads, shared: 0 });
        }
    }

    /// The module of that index, loaded.
    fn loaded(&mut self, source: usize) -> Result<sys::CUmodule> {
        let Source { module, handle } = &self.sources[source];
        if let Some(handle) = *handle {
            return Ok(handle);
        }
        let no_text = |_| Error::Device(format!("module {} holds a zero byte", module.name));
        let text = CString::new(module.ptx).map_err(no_text)?;
        let mut log = vec![0u8; 8192];
        let mut options =
            [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut handle = null_mut();
        // SAFETY: text, options and log live until the call returns, and the log is as long as is said.
        let loaded = unsafe {
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            sys::cuModuleLoadDataEx(&mut handle, text.as_ptr().cast(), 2, options, values).result()
        };
        if let Err(error) = loaded {
            let said = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
            let what = format!("module {} is not taken{}{said}", module.name, if said.is_empty() { "" } else { ": " });
            return Err(self.failed(&what, error));
        }
        self.sources[source].handle = Some(handle);
        Ok(handle)
    }

    /// The kernel of that name, ready to be launched, and the threads of its blocks.
    fn function(&mut self, name: &str) -> Result<(sys::CUfunction, u32)> {
        let Some(&Function { source, handle, threads, .. }) = self.kernels.get(name) else {
            return Err(Error::Device(format!("{}: there is no kernel {name}", self.limits.device)));
        };
        if let Some(handle) = handle {
            return Ok((handle, threads));
        }
        let module = self.loaded(source)?;
        let symbol = CString::new(name).map_err(|_| Error::Device(format!("{name:?} is no name of a kernel")))?;
        // SAFETY: the module is loaded.
        let handle = unsafe { module::get_function(module, symbol) };
        let handle = handle.map_err(|error| self.failed(&format!("kernel {name} is missing"), error))?;
        // Asked for a property it is really loaded, which must not happen while launches are captured.
        let registers = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_NUM_REGS;
        // SAFETY: the function is of a loaded module.
        unsafe { function::get_function_attribute(handle, registers) }
            .map_err(|error| self.failed(&format!("kernel {name} cannot be loaded"), error))?;
        if let Some(function) = self.kernels.get_mut(name) {
            function.handle = Some(handle);
        }
        Ok((handle, threads))
    }

    fn prepare_side(&mut self) -> Result<(), DriverError> {
        self.side = stream::create(stream::StreamKind::NonBlocking)?;
        self.forked = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        self.joined = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        Ok(())
    }

    fn prepare_memory(&mut self) -> Result<()> {
        self.up.prepare().map_err(|e| self.failed("no pinned memory", e))?;
        // SAFETY: freed by `drop` and by nobody else.
        let down = unsafe { result::malloc_host(DOWN, 0) };
        self.down = down.map_err(|e| self.failed("no pinned memory", e))?.cast();
        if self.pooled {
            let mut keep = u64::MAX;
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            // SAFETY: the device is the driver's, and the value is of the attribute's type.
            let set = unsafe {
                result::device::get_default_mem_pool(self.device)
                    .and_then(|pool| mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()))
            };
            set.map_err(|e| self.failed("its memory pool fails", e))?;
        }
        self.limits.free = result::mem_get_info().map_err(|e| self.failed("does not say how much is free", e))?.0;
        Ok(())
    }

    /// Runs the kernel with a planted bug that this tool of compute-sanitizer must find; what becomes of it is the
    /// tool's.
    ///
    /// # Errors
    /// No such tool; the device fails before.
    pub fn plant(index: usize, tool: &str) -> Result<()> {
        static PLANTED: Module = Module { name: "planted", ptx: include_str!("../../../cuda/planted.ptx") };
        let known = PLANTED.kernels();
        let Some((kernel, _)) = known.get_key_value(tool) else {
            return Err(Error::unknown("--planted", tool, known.into_keys()));
        };
        let mut gpu = Nvidia::open(index)?;
        gpu.offer(&PLANTED);
        // As exact as the driver can be: from a pool, neighbours may be ours.
        gpu.pooled = false;
        let Some(mut words) = gpu.allocate(128)? else { return Err(Error::Device("no memory".to_owned())) };
        let (handle, threads) = gpu.function(kernel)?;
        let mut parameters = [(&raw mut words).cast::<c_void>()];
        // SAFETY: the kernel takes one address; what it does wrong is what it is for, and nothing else runs there.
        let launched =
            unsafe { result::launch_kernel(handle, (1, 1, 1), (threads, 1, 1), 0, gpu.stream, &mut parameters) };
        launched.map_err(|e| gpu.failed(&format!("kernel {kernel} cannot be launched"), e))?;
        gpu.synchronize()
    }

    /// Loads a launch's kernel, and asks for its dynamic shared memory where that is more than the kernel had before:
    /// neither may happen while launches are captured.
    fn prepare(&mut self, launch: &Launch) -> Result<()> {
        let (handle, _) = self.function(launch.kernel)?;
        let Some(function) = self.kernels.get_mut(launch.kernel).filter(|function| launch.shared > function.shared)
        else {
            return Ok(());
        };
        function.shared = launch.shared;
        let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is of a loaded module.
        let set = unsafe { function::set_function_attribute(handle, most, launch.shared as i32) };
        set.map_err(|e| self.failed(&format!("{} bytes of shared memory", launch.shared), e))?;
        // As many blocks as were counted on fit a multiprocessor only where it gives all it can to shared memory.
        let carveout = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
        // SAFETY: as above. It is a wish: without it all is as right.
        let _ = unsafe { function::set_function_attribute(handle, carveout, 100) };
        Ok(())
    }

    /// The stream waits for what runs beside it.
    fn join(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.apart) {
            return Ok(());
        }
        // SAFETY: event and streams were made by `open`.
        let joined = unsafe {
            event::record(self.joined, self.side).and_then(|()| {
                stream::wait_event(self.stream, self.joined, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)
            })
        };
        joined.map_err(|e| self.failed("a step fails", e))
    }

    /// Puts one launch, which was prepared, on a stream.
    fn launch(&mut self, launch: &Launch, on: sys::CUstream) -> Result<()> {
        let (handle, threads) = self.function(launch.kernel)?;
        let mut tables: Tables = launch.tables;
        let mut parameters = [(&raw mut tables).cast::<c_void>()];
        let (grid, block) = ((launch.blocks, 1, 1), (threads, 1, 1));
        // SAFETY: the kernel takes one `Tables` by value, which the driver copies before the call returns; what the
        // tables point to lives as long as the dispatcher says.
        let launched = unsafe { result::launch_kernel(handle, grid, block, launch.shared, on, &mut parameters) };
        launched.map_err(|e| self.failed(&format!("kernel {} cannot be launched", launch.kernel), e))
    }

    /// The graph of these launches, captured anew where they are others than last time.
    fn graph(&mut self, launches: &[Launch]) -> Result<sys::CUgraphExec> {
        if let Some(captured) = self.captured.as_ref().filter(|captured| captured.launches == launches) {
            return Ok(captured.exec);
        }
        self.forget_graph();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours; whatever happens between, the capture is ended.
        unsafe { stream::begin_capture(self.stream, mode) }.map_err(|e| self.failed("no graph", e))?;
        let launched = launches.iter().try_for_each(|launch| self.launch(launch, self.stream));
        // SAFETY: as above.
        let ended = unsafe { stream::end_capture(self.stream) };
        launched?;
        let template = ended.map_err(|e| self.failed("no graph", e))?;
        // SAFETY: the template is destroyed once, after its use.
        let exec = unsafe {
            let exec = graph::instantiate(template, sys::CUgraphInstantiate_flags_enum(0));
            graph::destroy(template).map_err(|e| self.failed("a graph cannot be freed", e))?;
            exec.map_err(|e| self.failed("no graph", e))?
        };
        self.captured = Some(Captured { launches: launches.to_vec(), exec });
        Ok(exec)
    }

    fn forget_graph(&mut self) {
        if let Some(captured) = self.captured.take() {
            // SAFETY: it was made here and is used no more; a graph under way ends first. An error shows in the next
            // call.
            let _ = unsafe { graph::exec_destroy(captured.exec) };
        }
    }
}

/// Major and minor compute capability.
pub(super) fn capability(device: sys::CUdevice) -> Result<(i32, i32), DriverError> {
    use sys::CUdevice_attribute as Of;
    // SAFETY: the device is the driver's.
    let of = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let major = of(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    Ok((major, of(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?))
}

impl Driver for Nvidia {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn has(&self, kernel: &str) -> bool {
        self.kernels.contains_key(kernel)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Option<Address>> {
        // What runs beside uses none of it: memory that did was given back after it, see `release`.
        // SAFETY: nobody uses the memory but through this driver.
        let got = unsafe {
            match self.pooled {
                true => result::malloc_async(self.stream, bytes),
                false => result::malloc_sync(bytes),
            }
        };
        match got {
            Ok(address) => Ok(Some(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            Err(error) => Err(self.failed(&format!("{bytes} bytes cannot be reserved"), error)),
        }
    }

    fn release(&mut self, address: Address) -> Result<()> {
        self.join()?;
        // SAFETY: the address is one of `allocate`, and on the stream everything before has used it.
        let freed = unsafe {
            match self.pooled {
                true => result::free_async(address, self.stream),
                false => result::free_sync(address),
            }
        };
        freed.map_err(|e| self.failed("memory cannot be freed", e))
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.join()?;
        self.up.send(to, bytes, self.stream).map_err(|e| self.failed("an upload fails", e))
    }

    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.join()?;
        let mut at = from;
        for part in bytes.chunks_mut(DOWN) {
            // SAFETY: the pinned buffer has DOWN bytes, and nothing else reads or writes it.
            let place = unsafe { std::slice::from_raw_parts_mut(self.down, part.len()) };
            // SAFETY: the slice lives until the stream is through, for which the next line waits.
            let copied = unsafe { result::memcpy_dtoh_async(place, at, self.stream) };
            copied.map_err(|e| self.failed("a download fails", e))?;
            self.synchronize()?;
            part.copy_from_slice(place);
            at += part.len() as Address;
        }
        Ok(())
    }

    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.join()?;
        // SAFETY: both lie in allocations of this driver.
        let copied = unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) };
        copied.map_err(|e| self.failed("a copy fails", e))
    }

    fn zero(&mut self, at: Address, bytes: usize) -> Result<()> {
        self.join()?;
        // SAFETY: it lies in an allocation of this driver.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }.map_err(|e| self.failed("zeros fail", e))
    }

    fn repeat(&mut self, launches: &[Launch], times: usize) -> Result<()> {
        launches.iter().try_for_each(|launch| self.prepare(launch))?;
        // A graph is for several launches: of one, launches in a row follow one another faster.
        if times == 1 || launches.len() == 1 {
            return (0..times)
                .try_for_each(|_| launches.iter().try_for_each(|launch| self.launch(launch, self.stream)));
        }
        let exec = self.graph(launches)?;
        for _ in 0..times {
            // SAFETY: the graph is instantiated, and what its tables point to lives as long as the dispatcher says.
            unsafe { graph::launch(exec, self.stream) }.map_err(|e| self.failed("a step cannot be launched", e))?;
        }
        Ok(())
    }

    fn beside(&mut self, launches: &[Launch]) -> Result<()> {
        self.join()?;
        launches.iter().try_for_each(|launch| self.prepare(launch))?;
        // SAFETY: event and streams were made by `open`.
        let forked = unsafe {
            event::record(self.forked, self.stream).and_then(|()| {
                stream::wait_event(self.side, self.forked, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)
            })
        };
        forked.map_err(|e| self.failed("a step fails", e))?;
        self.apart = true;
        launches.iter().try_for_each(|launch| self.launch(launch, self.side))
    }

    fn synchronize(&mut self) -> Result<()> {
        self.join()?;
        // SAFETY: the stream is ours.
        unsafe { stream::synchronize(self.stream) }.map_err(|e| self.failed("a step fails", e))?;
        self.up.arrived();
        Ok(())
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        // Where one of these fails the device is lost, and with it what they would free.
        // SAFETY: everything was made here and is freed once, in the thread that made it.
        unsafe {
            let _ = stream::synchronize(self.stream);
            if !self.side.is_null() {
                let _ = stream::synchronize(self.side);
                let _ = stream::destroy(self.side);
            }
            self.forget_graph();
            self.up.free();
            if !self.down.is_null() {
                let _ = result::free_host(self.down.cast());
            }
            for made in [self.forked, self.joined] {
                if !made.is_null() {
                    let _ = event::destroy(made);
                }
            }
            for module in self.sources.iter().filter_map(|source| source.handle) {
                let _ = module::unload(module);
            }
            let _ = stream::destroy(self.stream);
            let _ = primary_ctx::release(self.device);
        }
    }
}
