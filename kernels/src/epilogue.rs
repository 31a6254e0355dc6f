//! epilogue
use crate::isa::Simd;
/// What is done with the rows of a product.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    #[doc(hidden)]
    Never(std::convert::Infallible, &'a [f32]),
}
impl Epilogue<'_> {
    /// Nothing.
    #[inline(always)]
    pub(crate) fn apply_row<S: Simd>(&mut self, _s: S, _row: usize, _col: usize, _c: &mut [f32]) {}
}
