//! Words and marks of PTX with their lines.
//!
//! A word keeps its dots and double colons (`cp.async.ca.shared::cta.global`, `%tid.x`, `$L__BB0_2`, `0f3F800000`),
//! since that is how the grammar uses them; comments and preprocessor lines are dropped.

use crate::fault::ParseError;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A run of letters, digits, `_ $ % .` and `::`.
    Word(&'a str),
    /// What stands between double quotes.
    Text(&'a str),
    /// Any other single character.
    Mark(char),
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    pub token: Token<'a>,
    /// Counted from 1.
    pub line: u32,
    /// Bytes from the start of the text.
    pub start: usize,
    pub end: usize,
}

/// Cuts `text` into tokens.
pub(crate) fn tokens(text: &str) -> Result<Vec<Spot<'_>>, ParseError> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut spots) = (0, 1, Vec::with_capacity(text.len() / 4));
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            byte if byte.is_ascii_whitespace() => at += 1,
            b'/' if bytes[at..].starts_with(b"//") => at = find(bytes, at, b"\n").unwrap_or(bytes.len()),
            b'/' if bytes[at..].starts_with(b"/*") => {
                let end =
                    find(bytes, at + 2, b"*/").ok_or_else(|| ParseError::new(line, "a comment without an end"))?;
                line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count() as u32;
                at = end + 2;
            }
            b'"' => {
                let end = find(bytes, at + 1, b"\"").ok_or_else(|| ParseError::new(line, "a string without an end"))?;
                spots.push(Spot { token: Token::Text(&text[at + 1..end]), line, start, end: end + 1 });
                line += bytes[at..end].iter().filter(|&&byte| byte == b'\n').count() as u32;
                at = end + 1;
            }
            byte if is_word(byte) => {
                // `.reg.b16` is two words: directives hold no dots.
                let directive = byte == b'.';
                at += usize::from(directive);
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at..].starts_with(b"::")) {
                    if directive && bytes[at] == b'.' {
                        break;
                    }
                    at += if bytes[at] == b':' { 2 } else { 1 };
                }
                spots.push(Spot { token: Token::Word(&text[start..at]), line, start, end: at });
            }
            byte if byte.is_ascii() => {
                at += 1;
                spots.push(Spot { token: Token::Mark(char::from(byte)), line, start, end: at });
            }
            _ => return Err(ParseError::new(line, "a character outside ASCII; PTX has none")),
        }
    }
    Ok(spots)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|window| window == what).map(|found| from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_dots_and_double_colons_and_labels_lose_their_colon() {
        let text = "$L_1: // no\n@!%p1 cp.async.ca.shared::cta.global [%r1+-4], 0f3F800000; /* \n */ x";
        let found: Vec<_> = tokens(text).unwrap().iter().map(|spot| (spot.token, spot.line)).collect();
        let words: Vec<_> = found.iter().filter(|(token, _)| matches!(token, Token::Word(_))).collect();
        assert_eq!(found[0], (Token::Word("$L_1"), 1));
        assert_eq!(found[1], (Token::Mark(':'), 1));
        assert_eq!(*words[2], (Token::Word("cp.async.ca.shared::cta.global"), 2));
        assert_eq!(*words[5], (Token::Word("0f3F800000"), 2));
        assert_eq!(found.last(), Some(&(Token::Word("x"), 3)));
    }

    #[test]
    fn directives_are_words_of_their_own() {
        let found: Vec<_> = tokens("{.reg.b16 a;").unwrap().iter().map(|spot| spot.token).collect();
        assert_eq!(found[1..4], [Token::Word(".reg"), Token::Word(".b16"), Token::Word("a")]);
    }

    #[test]
    fn an_open_comment_is_named_with_its_line() {
        assert_eq!(tokens("a\n/* b").unwrap_err().line, 2);
    }
}
