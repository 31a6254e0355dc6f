//! What a real driver refuses is refused here: each of these would otherwise show on a GPU alone.

use super::calls::*;
use super::state::*;
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};

type Handle = *mut c_void;

fn load(target: &str, version: &str) -> (Status, Handle) {
    let text = format!(".version {version}\n.target {target}\n.address_size 64\n.visible .entry k() {{ ret; }}\n");
    let (text, mut module) = (CString::new(text).unwrap(), null_mut());
    // SAFETY: the text ends with a zero byte, and there is room for the handle.
    let status = unsafe { cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 0, null(), null()) };
    (status, module)
}

/// The state is the process', so there is one test of all.
#[test]
fn what_a_driver_refuses_is_refused() {
    let (mut context, mut stream, mut graph, mut exec) = (null_mut(), null_mut(), null_mut(), null_mut());
    let (mut function, mut count) = (null_mut(), 0);
    // SAFETY: each pointer is to a live variable of the type that the call writes.
    unsafe {
        assert_eq!(cuDevicePrimaryCtxRetain(&mut context, 0), NOT_INITIALIZED);
        assert_eq!((cuDeviceGetCount(&mut count), cuInit(1)), (NOT_INITIALIZED, INVALID_VALUE));
        assert_eq!((cuInit(0), cuDeviceGetCount(&mut count), count), (SUCCESS, SUCCESS, 1));
        assert_eq!(cuStreamCreate(&mut stream, 1), INVALID_CONTEXT);
        assert_eq!(load("sm_75", "6.3").0, INVALID_CONTEXT);
        assert_eq!(cuDevicePrimaryCtxRetain(&mut context, 0), SUCCESS);
        assert_eq!((cuCtxSetCurrent(context), cuStreamCreate(&mut stream, 1)), (SUCCESS, SUCCESS));
        // The GPU is of compute capability 9.0, its driver of CUDA 12.4.
        for (target, version, expected) in [
            ("sm_90a", "8.0", SUCCESS),
            ("sm_100", "8.7", NO_BINARY),
            ("sm_89", "7.8", SUCCESS),
            ("sm_89a", "8.0", NO_BINARY),
            ("sm_90", "9.0", UNSUPPORTED_PTX),
        ] {
            assert_eq!(load(target, version).0, expected, "{target} {version}");
        }
        let (status, module) = load("sm_75", "6.3");
        assert_eq!((status, cuModuleGetFunction(&mut function, module, c"k".as_ptr())), (SUCCESS, SUCCESS));
        let launch =
            |x: u32, y: u32, threads: u32| cuLaunchKernel(function, x, y, 1, threads, 1, 1, 0, stream, null(), null());
        assert_eq!([launch(1, 1, 32), launch(1 << 20, 1, 32)], [SUCCESS; 2]);
        assert_eq!([launch(0, 1, 32), launch(1, 65_536, 32), launch(1, 1, 1025), launch(1, 1, 0)], [INVALID_VALUE; 4]);
        assert_eq!(cuStreamSynchronize(stream), SUCCESS);
        what_is_launched_suits_the_gpu(function, stream);
        // Whatever may wait for the device loses a capture, and is refused.
        let begin = || cuStreamBeginCapture_v2(stream, 1);
        let spoilers: [&dyn Fn() -> Status; 6] = [
            &|| cuMemAlloc_v2(&mut 0, 256),
            &|| cuStreamSynchronize(stream),
            &|| load("sm_75", "6.3").0,
            &|| cuMemsetD8Async(0, 0, 1, stream),
            &|| cuFuncSetAttribute(function, 8, 1024),
            &|| cuMemHostAlloc(&mut null_mut(), 64, 0),
        ];
        for (i, spoil) in spoilers.iter().enumerate() {
            assert_eq!((begin(), launch(1, 1, 32), spoil()), (SUCCESS, SUCCESS, CAPTURE_UNSUPPORTED), "{i}");
            assert_eq!(cuStreamEndCapture(stream, &mut graph), CAPTURE_INVALIDATED, "{i}");
        }
        assert_eq!(cuStreamEndCapture(stream, &mut graph), ILLEGAL_STATE);
        captures_are_of_a_thread(function, module, stream);
        assert_eq!((begin(), launch(1, 1, 32), cuStreamEndCapture(stream, &mut graph)), (SUCCESS, SUCCESS, SUCCESS));
        // A graph is not what is launched, and each kind has its own end.
        assert_eq!(cuGraphLaunch(graph, stream), INVALID_HANDLE);
        assert_eq!(cuGraphInstantiateWithFlags(&mut exec, graph, 0), SUCCESS);
        assert_eq!([cuGraphExecDestroy(graph), cuGraphDestroy(exec)], [INVALID_HANDLE; 2]);
        assert_eq!((cuGraphDestroy(graph), cuGraphLaunch(exec, stream)), (SUCCESS, SUCCESS));
        assert_eq!((cuStreamSynchronize(stream), cuGraphExecDestroy(exec)), (SUCCESS, SUCCESS));
        streams_wait_for_one_another(stream);
        contexts_do_not_mix(function, stream);
        // Functions end with their module.
        assert_eq!((cuModuleUnload(module), launch(1, 1, 32)), (SUCCESS, INVALID_HANDLE));
        pinned_memory_stays_as_it_is(stream);
        assert_eq!(cuDevicePrimaryCtxRelease_v2(0), SUCCESS);
        assert_eq!(cuStreamCreate(&mut stream, 1), CONTEXT_DESTROYED);
        assert_eq!(cuDevicePrimaryCtxRelease_v2(0), INVALID_CONTEXT);
        assert_eq!((cuDevicePrimaryCtxRetain(&mut context, 0), cuStreamCreate(&mut stream, 1)), (SUCCESS, SUCCESS));
        assert_eq!(cuMemFree_v2(1), SUCCESS);
        assert_eq!(cuStreamSynchronize(stream), LAUNCH_FAILED, "what was never reserved cannot be freed");
        assert_eq!(cuStreamCreate(&mut stream, 1), LAUNCH_FAILED, "a lost device stays lost");
    }
}

/// An event is what was asked of its stream before: whoever waits for it sees that done, and nothing that came after.
///
/// # Safety
/// The stream is live, of the GPU that is current.
unsafe fn streams_wait_for_one_another(first: Handle) {
    let (mut second, mut event, mut never, mut at) = (null_mut(), null_mut(), null_mut(), 0);
    // SAFETY: each pointer is to a live variable of the type that the call writes; host memory lives until it is waited
    // for.
    unsafe {
        assert_eq!(cuStreamCreateWithPriority(&mut second, 1, -1), SUCCESS);
        assert_eq!([cuEventCreate(&mut event, 2), cuEventCreate(&mut never, 2)], [SUCCESS; 2]);
        assert_eq!([cuEventRecord(null_mut(), first), cuStreamWaitEvent(second, null_mut(), 0)], [INVALID_HANDLE; 2]);
        assert_eq!([cuStreamWaitEvent(second, never, 0), cuEventSynchronize(never)], [SUCCESS; 2]);
        assert_eq!(cuMemAlloc_v2(&mut at, 8), SUCCESS);
        let (from, to) = (pinned(0).cast::<u32>(), pinned(0).cast::<u32>());
        for round in 0..4 {
            from.write(10 + round);
            assert_eq!([cuMemcpyHtoDAsync_v2(at, from.cast(), 4, first), cuEventRecord(event, first)], [SUCCESS; 2]);
            assert_eq!([cuMemcpyHtoDAsync_v2(at + 4, from.add(1).cast(), 4, first)], [SUCCESS]);
            // What came before the event is through, and its memory free for other numbers.
            assert_eq!(cuEventSynchronize(event), SUCCESS);
            from.write(20);
            assert_eq!([cuEventRecord(event, first), cuStreamWaitEvent(second, event, 0)], [SUCCESS; 2]);
            assert_eq!(cuMemcpyDtoHAsync_v2(to.cast(), at, 8, second), SUCCESS);
            assert_eq!(cuStreamSynchronize(second), SUCCESS);
            assert_eq!((to.read(), to.add(1).read()), (10 + round, 0), "round {round}");
        }
        assert_eq!([cuMemFreeHost(from.cast()), cuMemFreeHost(to.cast())], [SUCCESS; 2]);
        assert_eq!([cuMemFree_v2(at), cuStreamSynchronize(first), cuStreamDestroy_v2(second)], [SUCCESS; 3]);
        assert_eq!([cuEventDestroy_v2(event), cuEventDestroy_v2(never)], [SUCCESS; 2]);
        assert_eq!(cuEventDestroy_v2(event), INVALID_HANDLE);
    }
}

/// Eight bytes of pinned memory, zeros.
unsafe fn pinned(flags: u32) -> *mut u64 {
    let mut start = null_mut();
    // SAFETY: there is room for the address.
    assert_eq!(unsafe { cuMemHostAlloc(&mut start, 8, flags) }, SUCCESS);
    start.cast()
}

/// Copies are of pinned memory, which stays as it was until they are through; each of these would be chance on a GPU.
///
/// # Safety
/// The stream is live, of the GPU that is current.
unsafe fn pinned_memory_stays_as_it_is(stream: Handle) {
    let (mut at, mut plain) = (0, 7u64);
    let mut own: Handle = null_mut();
    // SAFETY: each pointer is to a live variable or to pinned memory that is not freed before.
    unsafe {
        assert_eq!([cuMemAlloc_v2(&mut at, 8), cuStreamCreate(&mut own, 1)], [SUCCESS; 2]);
        let (from, combined) = (pinned(0), pinned(4));
        let up = |from: *const u64, bytes: usize| cuMemcpyHtoDAsync_v2(at, from.cast(), bytes, stream);
        assert_eq!([up(&raw const plain, 8), up(from, 16), up(from, 0), up(combined, 8)], [1, 1, 1, SUCCESS]);
        let down = |to: *mut u64| cuMemcpyDtoHAsync_v2(to.cast(), at, 8, stream);
        assert_eq!([down(&raw mut plain), down(combined), down(from)], [INVALID_VALUE, INVALID_VALUE, SUCCESS]);
        assert_eq!(cuMemFreeHost(from.cast()), INVALID_VALUE, "a copy to it is under way");
        assert_eq!((cuStreamSynchronize(stream), cuMemFreeHost(combined.cast())), (SUCCESS, SUCCESS));
        assert_eq!((up(from, 8), cuMemsetD8Async(at, 0, 0, stream)), (SUCCESS, INVALID_VALUE));
        from.write(8);
        assert_eq!(cuStreamSynchronize(stream), LAUNCH_FAILED, "it changed before it was sent");
        state().devices[0].failed = None;
        assert_eq!([cuMemFreeHost(from.cast()), cuMemFree_v2(at), cuStreamSynchronize(stream)], [SUCCESS; 3]);
    }
}

/// # Safety
/// All are live, of the GPU that is current.
unsafe fn what_is_launched_suits_the_gpu(function: Handle, stream: Handle) {
    let mut value = 0;
    // SAFETY: the kernel has no parameters.
    unsafe {
        let shared = |bytes: u32| cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, bytes, stream, null(), null());
        // 48 KiB unasked, what the GPU has if asked: 227 KiB of compute capability 9.0.
        assert_eq!([shared(48 << 10), shared((48 << 10) + 16)], [SUCCESS, INVALID_VALUE]);
        assert_eq!(
            [cuFuncSetAttribute(function, 8, (227 << 10) + 1), cuFuncSetAttribute(function, 8, 227 << 10)],
            [1, 0]
        );
        assert_eq!((shared(227 << 10), cuDeviceGetAttribute(&mut value, 97, 0), value), (SUCCESS, SUCCESS, 227 << 10));
        let block = |x, y, z| cuLaunchKernel(function, 1, 1, 1, x, y, z, 0, stream, null(), null());
        assert_eq!(
            [block(1 << 16, 1 << 16, 1), block(1, 1, 65), block(8, 2, 64)],
            [INVALID_VALUE, INVALID_VALUE, SUCCESS]
        );
        assert_eq!(cuStreamSynchronize(stream), SUCCESS);
    }
}

/// What a thread captures, it ends; a capture that asks for it holds others back; what is launched is on the device
/// before.
///
/// # Safety
/// All are live, of the GPU that is current.
unsafe fn captures_are_of_a_thread(function: Handle, module: Handle, stream: Handle) {
    let (mut graph, mut fresh) = (null_mut(), null_mut());
    let addresses = [stream as usize, 1];
    let elsewhere = |work: fn(Handle) -> Status| {
        let there = move || {
            cuCtxSetCurrent(addresses[1] as Handle);
            work(addresses[0] as Handle)
        };
        std::thread::spawn(there).join().unwrap()
    };
    // SAFETY: each pointer is to a live variable.
    unsafe {
        let end = |stream| cuStreamEndCapture(stream, &mut null_mut());
        assert_eq!((cuStreamBeginCapture_v2(stream, 1), elsewhere(end)), (SUCCESS, CAPTURE_WRONG_THREAD));
        let allocate = |_| cuMemAlloc_v2(&mut 0, 8);
        for (mode, expected) in [(1, SUCCESS), (0, CAPTURE_UNSUPPORTED)] {
            assert_eq!((cuStreamBeginCapture_v2(stream, mode), elsewhere(allocate)), (SUCCESS, expected));
            let lost = if mode == 0 { CAPTURE_INVALIDATED } else { SUCCESS };
            assert_eq!(cuStreamEndCapture(stream, &mut graph), lost);
        }
        assert_eq!(cuGraphDestroy(graph), SUCCESS);
        let launch = |function| cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, null(), null());
        assert_eq!(cuModuleGetFunction(&mut fresh, module, c"k".as_ptr()), SUCCESS);
        assert_eq!([cuStreamBeginCapture_v2(stream, 1), launch(function), launch(fresh)], [0, 0, CAPTURE_UNSUPPORTED]);
        assert_eq!(cuStreamEndCapture(stream, &mut graph), CAPTURE_INVALIDATED);
    }
}

/// What is of one GPU cannot be used with another's.
///
/// # Safety
/// All are live, of the first GPU.
unsafe fn contexts_do_not_mix(function: Handle, first: Handle) {
    let (mut context, mut stream, mut event) = (null_mut(), null_mut(), null_mut());
    let other = state().devices.len();
    let made = new_device(2);
    state().devices.push(made);
    // SAFETY: each pointer is to a live variable.
    unsafe {
        assert_eq!(cuDevicePrimaryCtxRetain(&mut context, other as i32), SUCCESS);
        assert_eq!([cuCtxSetCurrent(context), cuStreamCreate(&mut stream, 1)], [SUCCESS; 2]);
        assert_eq!(cuEventCreate(&mut event, 2), SUCCESS);
        assert_eq!([cuStreamSynchronize(first), cuEventRecord(event, first)], [INVALID_CONTEXT; 2]);
        let launched = cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, null(), null());
        assert_eq!(launched, INVALID_HANDLE);
        assert_eq!([cuEventDestroy_v2(event), cuStreamDestroy_v2(stream)], [SUCCESS; 2]);
        assert_eq!([cuDevicePrimaryCtxRelease_v2(other as i32), cuCtxSetCurrent(1 as Handle)], [SUCCESS; 2]);
    }
    state().devices.pop();
}
