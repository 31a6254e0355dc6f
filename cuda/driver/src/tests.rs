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
        assert_eq!((begin(), launch(1, 1, 32), cuStreamEndCapture(stream, &mut graph)), (SUCCESS, SUCCESS, SUCCESS));
        // A graph is not what is launched, and each kind has its own end.
        assert_eq!(cuGraphLaunch(graph, stream), INVALID_HANDLE);
        assert_eq!(cuGraphInstantiateWithFlags(&mut exec, graph, 0), SUCCESS);
        assert_eq!([cuGraphExecDestroy(graph), cuGraphDestroy(exec)], [INVALID_HANDLE; 2]);
        assert_eq!((cuGraphDestroy(graph), cuGraphLaunch(exec, stream)), (SUCCESS, SUCCESS));
        assert_eq!((cuStreamSynchronize(stream), cuGraphExecDestroy(exec)), (SUCCESS, SUCCESS));
        streams_wait_for_one_another(stream);
        // Functions end with their module.
        assert_eq!((cuModuleUnload(module), launch(1, 1, 32)), (SUCCESS, INVALID_HANDLE));
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
    // SAFETY: each pointer is to a live variable of the type that the call writes; host memory lives until it is waited for.
    unsafe {
        assert_eq!(cuStreamCreateWithPriority(&mut second, 1, -1), SUCCESS);
        assert_eq!([cuEventCreate(&mut event, 2), cuEventCreate(&mut never, 2)], [SUCCESS; 2]);
        assert_eq!([cuEventRecord(null_mut(), first), cuStreamWaitEvent(second, null_mut(), 0)], [INVALID_HANDLE; 2]);
        assert_eq!([cuStreamWaitEvent(second, never, 0), cuEventSynchronize(never)], [SUCCESS; 2]);
        assert_eq!(cuMemAlloc_v2(&mut at, 8), SUCCESS);
        let up = |to: u64, from: *const u32| cuMemcpyHtoDAsync_v2(to, from.cast(), 4, first);
        for round in 0..4 {
            let (mut early, mut late, mut found) = (10u32, 10u32, [0u32; 2]);
            assert_eq!([up(at, &raw const early), cuEventRecord(event, first)], [SUCCESS; 2]);
            assert_eq!([up(at + 4, &raw const late), cuEventSynchronize(event)], [SUCCESS; 2]);
            (early, late) = (20, 20);
            assert_eq!([cuEventRecord(event, first), cuStreamWaitEvent(second, event, 0)], [SUCCESS; 2]);
            assert_eq!(cuMemcpyDtoHAsync_v2(found.as_mut_ptr().cast(), at, 8, second), SUCCESS);
            assert_eq!(cuStreamSynchronize(second), SUCCESS);
            assert_eq!((found, early, late), ([10, 20], 20, 20), "round {round}");
        }
        assert_eq!([cuMemFree_v2(at), cuStreamSynchronize(first), cuStreamDestroy_v2(second)], [SUCCESS; 3]);
        assert_eq!([cuEventDestroy_v2(event), cuEventDestroy_v2(never)], [SUCCESS; 2]);
        assert_eq!(cuEventDestroy_v2(event), INVALID_HANDLE);
    }
}
