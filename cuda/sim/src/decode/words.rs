//! An opcode's words: each must be taken by whoever decodes it, so that no modifier is ever overlooked.

use super::Decoded;
use crate::fault::ParseError;
use crate::ops::round::Round;
use crate::parse::syntax::Type;

/// `name.a.b.c`.
pub(super) struct Words<'a> {
    pub opcode: &'a str,
    pub name: &'a str,
    rest: Vec<&'a str>,
    line: u32,
}

impl<'a> Words<'a> {
    pub fn new(opcode: &'a str, line: u32) -> Self {
        let mut parts = opcode.split('.');
        let name = parts.next().unwrap_or_default();
        Self { opcode, name, rest: parts.collect(), line }
    }

    /// Takes a word if it is there.
    pub fn take(&mut self, word: &str) -> bool {
        let found = self.rest.iter().position(|&other| other == word);
        if let Some(at) = found {
            self.rest.remove(at);
        }
        found.is_some()
    }

    /// Takes the first of the words that is there.
    pub fn take_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|word| self.take(word))
    }

    /// The same, where one must be there.
    pub fn need_of(&mut self, words: &[&'static str]) -> Decoded<&'static str> {
        let found = self.take_of(words);
        found.ok_or_else(|| self.error(format!("one of .{}", words.join(", ."))))
    }

    /// Takes the first word that names a type.
    pub fn ty(&mut self) -> Decoded<Type> {
        let found = self.rest.iter().position(|word| Type::named(word).is_some());
        let Some(at) = found else { return Err(self.error("a type such as .u32 or .f32".to_owned())) };
        Type::named(self.rest.remove(at)).ok_or_else(|| self.error("a type".to_owned()))
    }

    /// Takes a word that starts so, and returns what follows.
    pub fn take_prefixed(&mut self, prefix: &str) -> Option<&'a str> {
        let at = self.rest.iter().position(|word| word.starts_with(prefix))?;
        Some(&self.rest.remove(at)[prefix.len()..])
    }

    /// `.rn .rz .rm .rp`.
    pub fn round(&mut self) -> Option<Round> {
        Some(match self.take_of(&["rn", "rz", "rm", "rp"])? {
            "rn" => Round::Nearest,
            "rz" => Round::Zero,
            "rm" => Round::Down,
            _ => Round::Up,
        })
    }

    /// An error about this opcode.
    pub fn error(&self, expected: String) -> ParseError {
        ParseError::new(self.line, format!("`{}`: expected {expected}", self.opcode))
    }

    /// This opcode is not known, or not with this type.
    pub fn unknown<T>(&self) -> Decoded<T> {
        Err(ParseError::new(self.line, format!("unknown instruction `{}`", self.opcode)))
    }

    /// All words must have been taken.
    pub fn finish(self) -> Decoded<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(ParseError::new(self.line, format!("`{}`: unknown modifier `.{word}`", self.opcode))),
        }
    }
}
