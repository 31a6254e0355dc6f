//! Buffers that several workers write at once, each its own part.

use hpt_kernels::matrix::{Matrix, MatrixMut};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a cache line, where every buffer begins: a vector that lies across two lines is loaded twice.
const LINE: usize = 64;

/// Large allocations begin at pages, and loads and stores at the same place of different pages hinder each other; the
/// optimizer walks through four buffers at once. So a buffer begins so many bytes further into a page than the last …
const SHIFT: usize = 13 * LINE;
/// … and after so many again at the first place.
const SHIFTS: usize = 5;
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A fixed buffer shared by a team. Between two barriers every element is either written by one worker alone or
/// only read; who does what is `step.rs`'s to keep.
pub(super) struct Shared<T> {
    /// The buffer, and room before it up to the first line and behind it.
    memory: Box<[UnsafeCell<T>]>,
    start: usize,
    len: usize,
}

// SAFETY: access goes through the unsafe methods below, whose callers promise that no element is written by one
// worker while another touches it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Copy + Default> Shared<T> {
    pub fn new(len: usize) -> Self {
        let shift = NEXT.fetch_add(1, Relaxed) % SHIFTS * SHIFT;
        let room = (LINE + shift) / size_of::<T>();
        let memory: Box<[_]> = (0..len + room).map(|_| UnsafeCell::new(T::default())).collect();
        let start = (memory.as_ptr().align_offset(LINE) + shift / size_of::<T>()).min(room);
        Shared { memory, start, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn cells(&self) -> &[UnsafeCell<T>] {
        &self.memory[self.start..][..self.len]
    }

    /// The whole buffer, by its only owner.
    pub fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: `&mut self` excludes every other access, and an `UnsafeCell<T>` lies like a `T`.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(self.cells().as_ptr()), self.len) }
    }

    /// Reads a part.
    ///
    /// # Safety
    /// Nobody writes this part while the slice lives.
    pub unsafe fn part(&self, range: Range<usize>) -> &[T] {
        let cells = &self.cells()[range];
        // SAFETY: in bounds by the line above; not written, by the caller's promise.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }

    /// Writes a part.
    ///
    /// # Safety
    /// Nobody else reads or writes this part while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "workers write disjoint parts of one buffer; the caller promises that")]
    pub unsafe fn part_mut(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.cells()[range];
        // SAFETY: in bounds by the line above; exclusive, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }
}

/// Where a row-major matrix lies in a buffer.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its first element.
    pub start: usize,
    /// Elements a row.
    pub width: usize,
}

impl Shared<f32> {
    fn corner(&self, at: Place, rows: &Range<usize>, cols: &Range<usize>) -> *const UnsafeCell<f32> {
        let Place { start, width } = at;
        assert!(rows.start <= rows.end && cols.start <= cols.end && cols.end <= width);
        assert!(start + rows.end * width <= self.len());
        self.cells().as_ptr().wrapping_add(start + rows.start * width + cols.start)
    }

    /// A block of a matrix in the buffer, to read.
    ///
    /// # Safety
    /// Nobody writes the block while the view lives.
    pub unsafe fn block(&self, at: Place, rows: Range<usize>, cols: Range<usize>) -> Matrix<'_> {
        let corner = self.corner(at, &rows, &cols).cast::<f32>();
        // SAFETY: `corner` checked that the block is in bounds; it is not written, by the caller's promise.
        unsafe { Matrix::from_raw(corner, rows.len(), cols.len(), at.width, 1) }
    }

    /// The same, to write.
    ///
    /// # Safety
    /// Nobody else reads or writes the block while the view lives.
    pub unsafe fn block_mut(&self, at: Place, rows: Range<usize>, cols: Range<usize>) -> MatrixMut<'_> {
        let corner = UnsafeCell::raw_get(self.corner(at, &rows, &cols));
        // SAFETY: `corner` checked that the block is in bounds; it is exclusive, by the caller's promise.
        unsafe { MatrixMut::from_raw(corner, rows.len(), cols.len(), at.width, 1) }
    }
}

/// Rows of `width` from the start of a buffer.
pub(super) fn rows_of(width: usize) -> Place {
    Place { start: 0, width }
}
