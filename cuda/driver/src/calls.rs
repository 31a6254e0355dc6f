//! The functions, each with the name and the parameters that NVIDIA documents.
//!
//! # Safety
//! Pointers are the caller's: those that results go to point to room for them, those that are read to what is expected.

#![allow(non_snake_case)]
#![allow(clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks, clippy::too_many_arguments)]

use super::state::*;
use hpt_ptxsim::Module;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

type Handle = *mut c_void;

/// Bytes of shared memory, static and dynamic together, that a kernel has without being asked for more.
const UNASKED: u32 = 48 * 1024;

/// A status from a result.
fn status(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(SUCCESS)
}

/// Writes a result to where the caller wants it.
///
/// # Safety
/// As the module says.
unsafe fn give<T>(to: *mut T, value: Result<T, Status>) -> Status {
    match value {
        Ok(_) if to.is_null() => INVALID_VALUE,
        Ok(value) => {
            // SAFETY: by the caller's promise.
            unsafe { to.write(value) };
            SUCCESS
        }
        Err(status) => status,
    }
}

fn known(device: c_int) -> Result<usize, Status> {
    let state = state();
    if !state.initialised {
        return Err(NOT_INITIALIZED);
    }
    let count = state.devices.len();
    usize::try_from(device).ok().filter(|device| *device < count).ok_or(INVALID_DEVICE)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> Status {
    if flags != 0 {
        return INVALID_VALUE;
    }
    let mut state = state();
    state.initialised = true;
    if state.devices.is_empty() { NO_DEVICE } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: as the module says; here and below.
    unsafe { give(version, Ok(setting("HPT_SIM_DRIVER", 12_040) as c_int)) }
}

fn words(error: Status) -> (*const c_char, *const c_char) {
    let row = WORDS.iter().find(|row| row.0 == error).unwrap_or(&WORDS[1]);
    (row.1.as_ptr().cast(), row.2.as_ptr().cast())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(error: Status, name: *mut *const c_char) -> Status {
    unsafe { give(name, Ok(words(error).0)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(error: Status, text: *mut *const c_char) -> Status {
    unsafe { give(text, Ok(words(error).1)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    let state = state();
    let known = if state.initialised { Ok(state.devices.len() as c_int) } else { Err(NOT_INITIALIZED) };
    unsafe { give(count, known) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    unsafe { give(device, known(ordinal).map(|device| device as c_int)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> Status {
    let text = c"Simulated GPU".to_bytes_with_nul();
    match known(device) {
        Ok(_) if length as usize >= text.len() => {
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
            SUCCESS
        }
        Ok(_) => INVALID_VALUE,
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) -> Status {
    let capability = capability() as c_int;
    let answer = match attribute {
        16 => Ok(4),
        75 => Ok(capability / 10),
        76 => Ok(capability % 10),
        97 => Ok(most_shared() as c_int),
        115 => Ok(c_int::from(has_pools())),
        _ => Err(INVALID_VALUE),
    };
    unsafe { give(value, known(device).and(answer)) }
}

/// Ten times the compute capability.
fn capability() -> u32 {
    setting("HPT_SIM_CAPABILITY", 90) as u32
}

/// Bytes of shared memory that a block may ask for ("Technical Specifications per Compute Capability").
fn most_shared() -> usize {
    1024 * match capability() {
        70 | 72 => 96,
        75 => 64,
        80 | 87 => 163,
        86 | 89 | 120.. => 99,
        90..120 => 227,
        _ => 48,
    }
}

/// Whether memory can come from pools, in the order of a stream.
fn has_pools() -> bool {
    setting("HPT_SIM_POOLS", 1) != 0
}

fn memory() -> usize {
    (setting("HPT_SIM_MEMORY", 1024) as usize) << 20
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Status {
    unsafe { give(bytes, known(device).map(|_| memory())) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> Status {
    let taken = setting("HPT_SIM_BUSY", 0) != 0;
    let context_of = |device: usize| {
        if taken {
            return Err(UNAVAILABLE);
        }
        state().devices[device].retained += 1;
        Ok((device + 1) as Handle)
    };
    unsafe { give(context, known(device).and_then(context_of)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Status {
    status(known(device).and_then(|device| state().leave(device)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    if context as usize > state().devices.len() {
        return INVALID_CONTEXT;
    }
    CURRENT.set(context as usize);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let mut state = state();
    let left = state.current().map(|device| memory() - state.devices[device].used);
    match unsafe { give(free, left) } {
        SUCCESS => unsafe { give(total, Ok(memory())) },
        status => status,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, flags: c_uint) -> Status {
    let mut state = state();
    let known = if flags > 1 { Err(INVALID_VALUE) } else { state.current() };
    let made = known.map(|device| {
        let handle = state.handle();
        state.streams.insert(handle, Stream { device, ..Stream::default() });
        handle as Handle
    });
    unsafe { give(stream, made) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut Handle, flags: c_uint, _priority: c_int) -> Status {
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: Handle) -> Status {
    status(state().drain(stream as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    state().streams.remove(&(stream as usize)).map_or(INVALID_HANDLE, |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Status {
    let mut state = state();
    let made = state.current().map(|device| {
        let handle = state.handle();
        state.events.insert(handle, Event { device, last: None });
        handle as Handle
    });
    unsafe { give(event, made) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    status(state().record(event as usize, stream as usize))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: Handle) -> Status {
    let mut state = state();
    status(match state.events.get(&(event as usize)).map(|event| event.last) {
        None => Err(INVALID_HANDLE),
        Some(None) => Ok(()),
        Some(Some((stream, number))) => state.drain_to(stream, number),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    state().events.remove(&(event as usize)).map_or(INVALID_HANDLE, |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Status {
    let mut state = state();
    status(match state.events.get(&(event as usize)).map(|event| event.last) {
        None => Err(INVALID_HANDLE),
        // What was never recorded is not waited for.
        Some(None) => Ok(()),
        Some(Some((other, number))) => state.queue(stream as usize, Queued::Wait { stream: other, number }),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: c_uint) -> Status {
    let mut state = state();
    let retained = state.devices.iter().filter(|device| device.retained > 0).count();
    status(state.stream(stream as usize).and_then(|stream| match stream.capture {
        Some(_) => Err(CAPTURE_UNSUPPORTED),
        None => {
            stream.capture = Some(Ok(Vec::new()));
            if mode != 1 && retained > 1 {
                eprintln!("simulated GPU: a capture holds back the threads of other GPUs");
            }
            // Global is 0, of the thread alone 1; to relax both is asking for trouble.
            (stream.capturer, stream.global) = (Some(std::thread::current().id()), mode != 1);
            Ok(())
        }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> Status {
    let mut state = state();
    let here = Some(std::thread::current().id());
    let nodes = state.stream(stream as usize).and_then(|stream| match stream.capture.take() {
        None => Err(ILLEGAL_STATE),
        Some(_) if stream.capturer != here => Err(CAPTURE_WRONG_THREAD),
        Some(nodes) => nodes,
    });
    let made = nodes.map(|nodes| {
        let handle = state.handle();
        state.graphs.insert(handle, nodes);
        handle as Handle
    });
    unsafe { give(graph, made) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, _flags: u64) -> Status {
    let mut state = state();
    let made = state.graphs.get(&(graph as usize)).cloned().ok_or(INVALID_HANDLE).map(|nodes| {
        let handle = state.handle();
        state.execs.insert(handle, nodes);
        handle as Handle
    });
    unsafe { give(exec, made) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(exec: Handle, stream: Handle) -> Status {
    let mut state = state();
    let Some(nodes) = state.execs.get(&(exec as usize)).cloned() else { return INVALID_HANDLE };
    status(nodes.into_iter().try_for_each(|node| state.launch(stream as usize, node)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: Handle) -> Status {
    state().graphs.remove(&(graph as usize)).map_or(INVALID_HANDLE, |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(exec: Handle) -> Status {
    state().execs.remove(&(exec as usize)).map_or(INVALID_HANDLE, |_| SUCCESS)
}

fn allocated(bytes: usize) -> Result<u64, Status> {
    let mut state = state();
    let device = state.current()?;
    state.unsafe_call()?;
    let device = &mut state.devices[device];
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    if device.used + bytes > memory() {
        return Err(OUT_OF_MEMORY);
    }
    device.used += bytes;
    let address = device.machine.alloc(bytes);
    device.sizes.insert(address, bytes);
    Ok(address)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    unsafe { give(address, allocated(bytes)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: Handle) -> Status {
    let known = if has_pools() { state().stream(stream as usize).map(drop) } else { Err(NOT_SUPPORTED) };
    unsafe { give(address, known.and_then(|()| allocated(bytes))) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    let mut state = state();
    let current = state.current().and_then(|device| state.unsafe_call().map(|()| device));
    // It waits for everything on the device, and then on one of its streams for somebody who waits.
    let on = current.and_then(|device| {
        let of = state.streams.iter().filter(|(_, stream)| stream.device == device).map(|(&handle, _)| handle);
        let mut streams: Vec<usize> = of.collect();
        streams.sort_unstable();
        let (&first, others) = streams.split_first().ok_or(INVALID_HANDLE)?;
        others.iter().try_for_each(|&other| state.drain(other))?;
        Ok(first)
    });
    status(on.and_then(|stream| state.queue(stream, Queued::Free(address))))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Status {
    if !has_pools() {
        return NOT_SUPPORTED;
    }
    status(state().queue(stream as usize, Queued::Free(address)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, device: c_int) -> Status {
    unsafe {
        give(
            pool,
            known(device).and_then(|device| if has_pools() { Ok((device + 1) as Handle) } else { Err(NOT_SUPPORTED) }),
        )
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(_pool: Handle, _attribute: c_uint, value: *mut c_void) -> Status {
    if value.is_null() { INVALID_VALUE } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(start: *mut Handle, bytes: usize, flags: c_uint) -> Status {
    let mut state = state();
    let known = state.current().and_then(|_| state.unsafe_call());
    let sound = if bytes > 0 && flags < 8 { Ok(()) } else { Err(INVALID_VALUE) };
    let made = known.and(sound).map(|()| {
        let mut buffer = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        let place = buffer.as_mut_ptr();
        state.pinned.insert(place as usize, Pinned { memory: buffer, combined: flags & 4 != 0 });
        place.cast()
    });
    unsafe { give(start, made) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(start: Handle) -> Status {
    let (mut state, start) = (state(), start as usize);
    let Some(pinned) = state.pinned.get(&start) else { return INVALID_VALUE };
    let range = start..start + 8 * pinned.memory.len();
    let used = |queued: &Queued| match queued {
        Queued::Up { from: at, .. } | Queued::Down { to: at, .. } => range.contains(at),
        _ => false,
    };
    if state.streams.values().any(|stream| stream.queue.iter().any(used)) {
        eprintln!("simulated GPU: pinned memory is freed while a copy of it is under way");
        return INVALID_VALUE;
    }
    state.pinned.remove(&start);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) -> Status {
    // From memory that is not pinned a driver copies as well, and whoever asks waits: what nobody here means to do.
    let (mut state, from) = (state(), from as usize);
    if bytes == 0 || state.pinned(from, bytes).is_none() {
        return INVALID_VALUE;
    }
    status(state.queue(stream as usize, Queued::Up { to, from, bytes, digest: digest_of(from, bytes) }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) -> Status {
    let (mut state, to) = (state(), to as usize);
    if bytes == 0 || state.pinned(to, bytes).is_none_or(|pinned| pinned.combined) {
        return INVALID_VALUE;
    }
    status(state.queue(stream as usize, Queued::Down { to, from, bytes }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> Status {
    if bytes == 0 {
        return INVALID_VALUE;
    }
    status(state().queue(stream as usize, Queued::Copy { to, from, bytes }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(at: u64, value: u8, bytes: usize, stream: Handle) -> Status {
    if bytes == 0 {
        return INVALID_VALUE;
    }
    status(state().queue(stream as usize, Queued::Fill { at, value, bytes }))
}

/// The PTX versions that drivers know, in the releases that tests ask for.
fn knows(version: (u32, u32)) -> bool {
    let newest = match setting("HPT_SIM_DRIVER", 12_040) {
        ..11_000 => (6, 5),
        11_000..12_000 => (7, 8),
        12_000..13_000 => (8, 8),
        _ => (9, 5),
    };
    version <= newest
}

/// Whether a GPU takes code for that target: all from it on, but where it ends in a letter, that one alone.
fn takes(target: &str) -> bool {
    let target = target.trim_start_matches("sm_");
    let digits = target.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    digits
        .parse::<u32>()
        .is_ok_and(|least| if digits == target { capability() >= least } else { capability() == least })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    image: *const c_void,
    count: c_uint,
    options: *const c_uint,
    values: *const *mut c_void,
) -> Status {
    // SAFETY: a text ends with a zero byte.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy();
    let mut state = state();
    let device = match state.current().and_then(|device| state.unsafe_call().map(|()| device)) {
        Ok(device) => device,
        Err(status) => return status,
    };
    match Module::parse(&text) {
        Ok(parsed) if !knows(parsed.version()) => UNSUPPORTED_PTX,
        Ok(parsed) if !takes(parsed.target()) => NO_BINARY,
        Ok(parsed) => {
            if setting("HPT_SIM_TELLS", 0) != 0 {
                eprintln!("simulated GPU: a module for {} is loaded", parsed.target());
            }
            let handle = state.handle();
            state.modules.insert(handle, (device, parsed));
            unsafe { give(module, Ok(handle as Handle)) }
        }
        Err(error) => {
            // Options 5 and 6 are the buffer for errors and its size.
            let named = |option: c_uint| (0..count as usize).find(|&i| unsafe { *options.add(i) } == option);
            if let (Some(buffer), Some(size)) = (named(5), named(6)) {
                let (buffer, size) = unsafe { ((*values.add(buffer)).cast::<u8>(), *values.add(size) as usize) };
                let said = error.to_string();
                let length = said.len().min(size.saturating_sub(1));
                unsafe { std::ptr::copy_nonoverlapping(said.as_ptr(), buffer, length) };
            }
            INVALID_PTX
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: Handle) -> Status {
    let mut state = state();
    if let Err(status) = state.unsafe_call() {
        return status;
    }
    let module = module as usize;
    state.functions.retain(|_, function| function.module != module);
    state.modules.remove(&module).map_or(INVALID_HANDLE, |_| SUCCESS)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> Status {
    // SAFETY: a name ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let mut state = state();
    let Some((device, of_module)) = state.modules.get(&(module as usize)) else { return INVALID_HANDLE };
    let (device, kernel) = (*device, of_module.kernel(&name).cloned());
    let made = kernel.ok_or(NOT_FOUND).map(|kernel| {
        let handle = state.handle();
        let shared = UNASKED.saturating_sub(kernel.static_shared_bytes() as u32);
        state.functions.insert(handle, Function { kernel, shared, module: module as usize, device, loaded: false });
        handle as Handle
    });
    unsafe { give(function, made) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: Handle) -> Status {
    let mut state = state();
    // It brings the function to the device.
    let allowed = state.unsafe_call();
    let known = allowed.and_then(|()| state.functions.get_mut(&(function as usize)).ok_or(INVALID_HANDLE));
    if let Ok(Function { loaded, .. }) = known {
        *loaded = true;
    }
    let known = state.functions.get(&(function as usize)).ok_or(INVALID_HANDLE);
    let answer = allowed.and(known).and_then(|function| match attribute {
        // Registers of the text are not those of a machine.
        4 => Ok(32),
        8 => Ok(function.shared as c_int),
        _ => Err(INVALID_VALUE),
    });
    unsafe { give(value, answer) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_uint, value: c_int) -> Status {
    let mut state = state();
    if let Err(status) = state.unsafe_call() {
        return status;
    }
    match (state.functions.get_mut(&(function as usize)), attribute) {
        // The share of shared memory that is wished for, in hundredths.
        (Some(_), 9) if (-1..=100).contains(&value) => SUCCESS,
        (Some(function), 8) if value >= 0 => {
            let rest = most_shared().saturating_sub(function.kernel.static_shared_bytes());
            if value as usize > rest {
                return INVALID_VALUE;
            }
            function.shared = value as u32;
            SUCCESS
        }
        (None, _) => INVALID_HANDLE,
        _ => INVALID_VALUE,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Handle,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Status {
    let mut state = state();
    let Some(Function { kernel, shared: most, .. }) = state.functions.get(&(function as usize)) else {
        return INVALID_HANDLE;
    };
    let threads = [block_x, block_y, block_z].iter().fold(1u32, |all, &n| all.saturating_mul(n));
    let grid_fits = [(grid_x, i32::MAX as u32), (grid_y, 65_535), (grid_z, 65_535)]
        .iter()
        .all(|&(n, most)| (1..=most).contains(&n));
    let fits = (1..=kernel.max_threads().unwrap_or(1024)).contains(&threads) && block_z <= 64 && grid_fits;
    let passed = (kernel.params().is_empty() || !params.is_null()) && extra.is_null() && kernel.param_bytes() <= 4096;
    if !fits || !passed || shared > *most {
        return INVALID_VALUE;
    }
    let mut bytes = vec![0; kernel.param_bytes()];
    for (i, param) in kernel.params().iter().enumerate() {
        // SAFETY: there is a pointer to as many bytes as the kernel declares, for each parameter.
        unsafe {
            let from = (*params.add(i)).cast::<u8>();
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr().add(param.offset), param.size);
        }
    }
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let node = Node { function: function as usize, grid, block, shared, params: bytes };
    status(state.launch(stream as usize, node))
}
