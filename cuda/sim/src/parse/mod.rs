//! From text to statements: no meaning yet, only PTX's grammar.
//!
//! `lexer` cuts words and marks, `syntax` names the pieces, `module` builds them. What a statement means, and whether
//! it is known at all, is decided in [`decode`](crate::decode).

pub(crate) mod lexer;
pub(crate) mod module;
pub(crate) mod syntax;
