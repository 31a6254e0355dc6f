//! The grammar: tokens to a [`Text`]. Directives that are not known are errors, as unknown opcodes are later.

use super::lexer::{Spot, Token, tokens};
use super::syntax::{Function, Home, Item, Operand, Registers, Statement, Text, Type, Variable};
use crate::fault::ParseError;

type Parsed<T> = Result<T, ParseError>;

/// Parses a whole module.
pub(crate) fn text(source: &str) -> Parsed<Text<'_>> {
    let mut parser = Parser { spots: tokens(source)?, at: 0 };
    let mut text = Text::default();
    while let Some(spot) = parser.peek() {
        parser.directive(spot.line, &mut text)?;
    }
    if text.target.is_empty() {
        return Err(ParseError::new(1, "no .target: this is not a PTX module"));
    }
    Ok(text)
}

struct Parser<'a> {
    spots: Vec<Spot<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Spot<'a>> {
        self.spots.get(self.at).copied()
    }

    fn line(&self) -> u32 {
        self.spots.get(self.at.min(self.spots.len().wrapping_sub(1))).map_or(1, |spot| spot.line)
    }

    fn error<T>(&self, expected: &str) -> Parsed<T> {
        let found = match self.peek().map(|spot| spot.token) {
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Text(text)) => format!("\"{text}\""),
            Some(Token::Mark(mark)) => format!("`{mark}`"),
            None => "the end of the text".to_owned(),
        };
        Err(ParseError::new(self.line(), format!("found {found}, expected {expected}")))
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.peek().is_some_and(|spot| spot.token == Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.error(&format!("`{mark}`")) }
    }

    fn word(&mut self, expected: &str) -> Parsed<&'a str> {
        match self.peek().map(|spot| spot.token) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.error(expected),
        }
    }

    fn peek_word(&self) -> &'a str {
        match self.peek().map(|spot| spot.token) {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    fn number(&mut self, expected: &str) -> Parsed<u32> {
        let word = self.word(expected)?;
        match integer(word).map(u32::try_from) {
            Some(Ok(value)) => Ok(value),
            _ => {
                self.at -= 1;
                self.error(expected)
            }
        }
    }

    /// Skips to behind the next `;`.
    fn skip_statement(&mut self) -> Parsed<()> {
        while !self.eat(';') {
            if self.peek().is_none() {
                return self.error("`;`");
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Skips the rest of a line: directives of debug information have no semicolon.
    fn skip_line(&mut self, line: u32) {
        while self.peek().is_some_and(|spot| spot.line == line) {
            self.at += 1;
        }
    }

    fn directive(&mut self, line: u32, text: &mut Text<'a>) -> Parsed<()> {
        match self.word("a directive")? {
            ".version" => {
                let word = self.word("a version such as 7.0")?;
                let parts = word.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                text.version = parts.ok_or_else(|| ParseError::new(line, format!("`{word}` is no version")))?;
            }
            ".target" => {
                text.target = self.word("a target such as sm_80")?;
                while self.eat(',') {
                    self.word("an option of the target")?;
                }
            }
            ".address_size" => {
                if self.number("64")? != 64 {
                    return Err(ParseError::new(line, "addresses must have 64 bits"));
                }
            }
            ".file" | ".loc" => self.skip_line(line),
            ".section" => {
                while !self.eat('}') {
                    if self.peek().is_none() {
                        return self.error("`}`");
                    }
                    self.at += 1;
                }
            }
            _ => {
                self.at -= 1;
                self.linked(text)?;
            }
        }
        Ok(())
    }

    /// `.visible .entry …`, `.extern .shared …`, `.global …`.
    fn linked(&mut self, text: &mut Text<'a>) -> Parsed<()> {
        let mut external = false;
        loop {
            match self.peek_word() {
                ".extern" => external = true,
                ".visible" | ".weak" | ".common" => {}
                ".entry" | ".func" => {
                    let function = self.function()?;
                    text.functions.push(function);
                    return Ok(());
                }
                ".global" | ".const" | ".shared" => {
                    self.variables(external, &mut text.variables)?;
                    return Ok(());
                }
                _ => return self.error("a directive: .entry, .func, .global, .const or .shared"),
            }
            self.at += 1;
        }
    }

    fn function(&mut self) -> Parsed<Function<'a>> {
        let line = self.line();
        let entry = self.word(".entry or .func")? == ".entry";
        let results = if !entry && self.peek().is_some_and(|spot| spot.token == Token::Mark('(')) {
            self.params()?
        } else {
            Vec::new()
        };
        let name = self.word("a function's name")?;
        let params =
            if self.peek().is_some_and(|spot| spot.token == Token::Mark('(')) { self.params()? } else { Vec::new() };
        let mut max_threads = None;
        loop {
            match self.peek_word() {
                ".maxntid" | ".reqntid" => {
                    self.at += 1;
                    let mut threads = self.number("a number of threads")?;
                    while self.eat(',') {
                        threads = threads.saturating_mul(self.number("a number of threads")?);
                    }
                    max_threads = Some(threads);
                }
                ".minnctapersm" | ".maxnreg" | ".maxnctapersm" => {
                    self.at += 1;
                    self.number("a number")?;
                }
                ".noreturn" => self.at += 1,
                ".pragma" => self.skip_statement()?,
                _ => break,
            }
        }
        let body = if self.eat(';') {
            None
        } else {
            self.expect('{')?;
            Some(self.body()?)
        };
        Ok(Function { line, name, entry, results, params, max_threads, body })
    }

    fn params(&mut self) -> Parsed<Vec<Variable<'a>>> {
        self.expect('(')?;
        let mut params = Vec::new();
        while !self.eat(')') {
            if self.peek_word() == ".reg" {
                return self.error("`.param`: functions with register parameters are not written by compilers");
            }
            self.variable_list(false, &mut params, false)?;
            self.eat(',');
        }
        Ok(params)
    }

    fn variables(&mut self, external: bool, out: &mut Vec<Variable<'a>>) -> Parsed<()> {
        self.variable_list(external, out, true)?;
        self.expect(';')
    }

    /// `.shared .align 16 .b8 tile[4096], …`; a parameter list has one variable a declaration.
    fn variable_list(&mut self, external: bool, out: &mut Vec<Variable<'a>>, many: bool) -> Parsed<()> {
        let home = match self.word("a state space")? {
            ".global" => Home::Global,
            ".const" => Home::Const,
            ".shared" => Home::Shared,
            ".local" => Home::Local,
            ".param" => Home::Param,
            _ => {
                self.at -= 1;
                return self.error(".global, .const, .shared, .local or .param");
            }
        };
        let (mut align, mut ty) = (None, None);
        while self.peek_word().starts_with('.') {
            match self.word("a type")? {
                ".align" => align = Some(self.number("an alignment")?),
                ".ptr" | ".global" | ".const" | ".shared" | ".local" | ".v2" | ".v4" if home != Home::Param => {
                    self.at -= 1;
                    return self.error("a scalar type");
                }
                ".ptr" => {
                    // What it says of the pointer's target is a promise to the compiler.
                    while matches!(self.peek_word(), ".global" | ".const" | ".shared" | ".local" | ".align") {
                        if self.word("a word")? == ".align" {
                            self.number("an alignment")?;
                        }
                    }
                }
                word => match Type::named(&word[1..]) {
                    Some(found) => ty = Some(found),
                    None => {
                        self.at -= 1;
                        return self.error("a type such as .b8 or .u64");
                    }
                },
            }
        }
        let Some(ty) = ty else { return self.error("a type such as .b8 or .u64") };
        loop {
            let variable = self.variable(home, ty, align, external)?;
            out.push(variable);
            if !(many && self.eat(',')) {
                return Ok(());
            }
        }
    }

    fn variable(&mut self, home: Home, ty: Type, align: Option<u32>, external: bool) -> Parsed<Variable<'a>> {
        let line = self.line();
        let name = self.word("a variable's name")?;
        let (mut count, mut open) = (1u32, false);
        while self.eat('[') {
            if self.eat(']') {
                open = true;
            } else {
                count = count.saturating_mul(self.number("a length")?);
                self.expect(']')?;
            }
        }
        let bytes = if self.eat('=') { Some(self.initialiser(ty)?) } else { None };
        let size = match &bytes {
            Some(bytes) if open => bytes.len() as u32,
            _ if open => 0,
            _ => count.saturating_mul(ty.bytes()),
        };
        if bytes.as_ref().is_some_and(|bytes| bytes.len() > size as usize) {
            return Err(ParseError::new(line, format!("`{name}` has more initial values than elements")));
        }
        Ok(Variable {
            line,
            name,
            home,
            size,
            align: align.unwrap_or(ty.bytes()),
            external: external || open && bytes.is_none(),
            bytes,
        })
    }

    /// `5` or `{1, 2, {3}}` as bytes.
    fn initialiser(&mut self, ty: Type) -> Parsed<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.eat('{') {
            while !self.eat('}') {
                bytes.extend(self.initialiser(ty)?);
                self.eat(',');
            }
            return Ok(bytes);
        }
        let line = self.line();
        let bits = match self.operand()? {
            Operand::Integer(value) => value,
            Operand::Single(bits) => u64::from(bits),
            Operand::Double(bits) if ty == Type::F(32) => u64::from((f64::from_bits(bits) as f32).to_bits()),
            Operand::Double(bits) => bits,
            _ => {
                return Err(ParseError::new(
                    line,
                    "an initial value that is no number: addresses in tables are not supported",
                ));
            }
        };
        bytes.extend(&bits.to_le_bytes()[..ty.bytes() as usize]);
        Ok(bytes)
    }

    /// The items up to the closing brace, which is eaten.
    fn body(&mut self) -> Parsed<Vec<Item<'a>>> {
        let mut items = Vec::new();
        while !self.eat('}') {
            self.item(&mut items)?;
        }
        Ok(items)
    }

    fn item(&mut self, items: &mut Vec<Item<'a>>) -> Parsed<()> {
        if self.eat('{') {
            items.push(Item::Block(self.body()?));
            return Ok(());
        }
        if self.eat(';') {
            return Ok(());
        }
        let line = self.line();
        match self.peek_word() {
            ".reg" => return self.registers(items),
            ".local" | ".shared" | ".param" | ".global" | ".const" => {
                let mut variables = Vec::new();
                self.variables(false, &mut variables)?;
                items.extend(variables.into_iter().map(Item::Variable));
                return Ok(());
            }
            ".extern" => {
                self.at += 1;
                let mut variables = Vec::new();
                self.variables(true, &mut variables)?;
                items.extend(variables.into_iter().map(Item::Variable));
                return Ok(());
            }
            ".pragma" => return self.skip_statement(),
            ".loc" | ".file" => {
                self.skip_line(line);
                return Ok(());
            }
            word if word.starts_with('.') => return self.error("a statement or a known directive"),
            _ => {}
        }
        if matches!(self.spots.get(self.at + 1), Some(Spot { token: Token::Mark(':'), .. })) {
            let name = self.word("a label")?;
            self.expect(':')?;
            match self.peek_word() {
                ".branchtargets" => {
                    self.at += 1;
                    let mut labels = vec![self.word("a label")?];
                    while self.eat(',') {
                        labels.push(self.word("a label")?);
                    }
                    items.push(Item::Targets(name, labels));
                    return self.expect(';');
                }
                ".callprototype" | ".calltargets" => return self.error("no indirect call: they are not supported"),
                _ => items.push(Item::Label(name, line)),
            }
            return Ok(());
        }
        items.push(Item::Statement(self.statement()?));
        Ok(())
    }

    fn registers(&mut self, items: &mut Vec<Item<'a>>) -> Parsed<()> {
        self.at += 1;
        let word = self.word("a register type")?;
        let Some(ty) = Type::named(word.trim_start_matches('.')) else {
            self.at -= 1;
            return self.error("a register type such as .b32");
        };
        loop {
            let name = self.word("a register's name")?;
            let count = if self.eat('<') {
                let count = self.number("a number of registers")?;
                self.expect('>')?;
                Some(count)
            } else {
                None
            };
            items.push(Item::Registers(Registers { name, count, ty }));
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn statement(&mut self) -> Parsed<Statement<'a>> {
        let guard = if self.eat('@') {
            let negated = self.eat('!');
            Some((self.word("a predicate")?, negated))
        } else {
            None
        };
        let (line, start) = (self.line(), self.peek().map_or(0, |spot| spot.start));
        let opcode = self.word("an instruction")?;
        let (mut operands, mut end) = (Vec::new(), self.spots[self.at - 1].end);
        while !self.eat(';') {
            if !operands.is_empty() {
                self.expect(',')?;
            }
            operands.push(self.operand()?);
            end = self.spots[self.at - 1].end;
        }
        Ok(Statement { line, span: start..end, guard, opcode, operands })
    }

    fn operand(&mut self) -> Parsed<Operand<'a>> {
        let closing = |open| if open == '{' { '}' } else { ')' };
        match self.peek().map(|spot| spot.token) {
            Some(Token::Mark(open @ ('{' | '('))) => {
                self.at += 1;
                let mut inner = Vec::new();
                while !self.eat(closing(open)) {
                    if !inner.is_empty() {
                        self.expect(',')?;
                    }
                    inner.push(self.operand()?);
                }
                Ok(if open == '{' { Operand::Vector(inner) } else { Operand::List(inner) })
            }
            Some(Token::Mark('[')) => {
                self.at += 1;
                self.address()
            }
            Some(Token::Mark('!')) => {
                self.at += 1;
                Ok(Operand::Not(self.word("a predicate")?))
            }
            Some(Token::Mark('-')) => {
                self.at += 1;
                match self.operand()? {
                    Operand::Integer(value) => Ok(Operand::Integer(value.wrapping_neg())),
                    Operand::Double(bits) => Ok(Operand::Double(bits ^ 1 << 63)),
                    _ => self.error("a number after `-`"),
                }
            }
            Some(Token::Word(word)) => {
                self.at += 1;
                if self.eat('|') {
                    return Ok(Operand::Pair(word, self.word("a second destination")?));
                }
                if word.as_bytes()[0].is_ascii_digit() {
                    return literal(word).ok_or_else(|| ParseError::new(self.line(), format!("`{word}` is no number")));
                }
                Ok(Operand::Name(word))
            }
            _ => self.error("an operand"),
        }
    }

    /// `base`, `base+4`, `base+-4`, `16`, then `]`.
    fn address(&mut self) -> Parsed<Operand<'a>> {
        let (mut base, mut offset) = (None, 0i64);
        if self.peek_word().as_bytes().first().is_some_and(u8::is_ascii_digit) {
            offset = self.offset()?;
        } else {
            base = Some(self.word("a register or a variable")?);
            if self.eat('+') || self.peek().is_some_and(|spot| spot.token == Token::Mark('-')) {
                offset = self.offset()?;
            }
        }
        self.expect(']')?;
        Ok(Operand::Address(base, offset))
    }

    fn offset(&mut self) -> Parsed<i64> {
        let negative = self.eat('-');
        let word = self.word("an offset")?;
        let Some(value) = integer(word) else {
            self.at -= 1;
            return self.error("a whole offset");
        };
        Ok(if negative { (value as i64).wrapping_neg() } else { value as i64 })
    }
}

/// A whole number in PTX's notations.
fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => u64::from_str_radix(&word[2..], 16).ok(),
        [b'0', b'b' | b'B', ..] => u64::from_str_radix(&word[2..], 2).ok(),
        [b'0', _, ..] => u64::from_str_radix(&word[1..], 8).ok(),
        _ => word.parse().ok(),
    }
}

fn literal<'a>(word: &str) -> Option<Operand<'a>> {
    match word.as_bytes() {
        [b'0', b'f' | b'F', ..] if word.len() == 10 => u32::from_str_radix(&word[2..], 16).ok().map(Operand::Single),
        [b'0', b'd' | b'D', ..] if word.len() == 18 => u64::from_str_radix(&word[2..], 16).ok().map(Operand::Double),
        _ if word.contains('.') => word.parse().ok().map(|value: f64| Operand::Double(value.to_bits())),
        _ => integer(word).map(Operand::Integer),
    }
}
