//! A command with `{placeholders}`, made into one line for the shell that is the same for every trial.
//!
//! Values never stand in the line: a placeholder becomes a reference to an environment variable, written so that it is
//! one word where it stands (bare, inside `"…"` or inside `'…'`). So no value, whatever quotes or `$(…)` are in it, can
//! be taken for a piece of the command. The same variables serve programs that would rather read them themselves.

use crate::space::{Params, Space, Value};
use crate::{Error, Result};

/// Placeholders and variables beside the parameters: name, variable.
const OWN: [(&str, &str); 4] = [
    ("trial_number", "HPT_TRIAL_NUMBER"),
    ("trial_seed", "HPT_TRIAL_SEED"),
    ("study", "HPT_STUDY"),
    ("params", "HPT_PARAMS"),
];

/// A command that was checked against a space.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// What the shell is given.
    pub line: String,
    /// Each parameter with its variable.
    variables: Vec<(String, String)>,
}

/// What is known of a trial beside its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub number: u64,
    pub seed: u32,
    pub study: &'a str,
}

/// Where in a shell's line a character stands.
#[derive(Clone, Copy, PartialEq)]
enum Quotes {
    None,
    Single,
    Double,
}

impl Template {
    /// Reads a command. `{name}` is a parameter's value, or one of `{trial_number}`, `{trial_seed}`, `{study}` and
    /// `{params}`; `{{` and `}}` are braces, and so are pairs that hold anything but one name, and `${…}`.
    ///
    /// # Errors
    /// [`Error::Input`]: the command is empty, a placeholder is no parameter or has no end, a brace has no partner, or
    /// two parameters would have the same variable.
    pub fn new(place: &str, command: &str, space: &Space) -> Result<Self> {
        if command.trim().is_empty() {
            return Err(Error::input(format!(
                "{place} is empty; a command is expected, as in './objective.sh {{learning_rate}}'"
            )));
        }
        if command.contains('\0') {
            return Err(Error::input(format!("{place} holds a zero byte, which no shell takes")));
        }
        let variables: Vec<(String, String)> =
            space.parameters().iter().map(|p| (p.name.clone(), variable(&p.name))).collect();
        for (i, (name, own)) in variables.iter().enumerate() {
            let others = variables[..i].iter().map(|(name, own)| (name.as_str(), own.as_str())).chain(OWN);
            if let Some((other, _)) = others.into_iter().find(|(_, other)| other == own) {
                return Err(Error::input(format!(
                    "space {name}: its environment variable would be {own}, which is that of `{other}`; give it another name"
                )));
            }
        }
        let find = |name: &str| {
            let known = variables.iter().map(|(name, own)| (name.as_str(), own.as_str())).chain(OWN);
            let own =
                |(_, own): (&str, &str)| Found { variable: own.to_owned(), is_parameter: space.get(name).is_some() };
            known.into_iter().find(|(known, _)| *known == name).map(own)
        };
        let line = shell_line(place, command, &|name| {
            find(name).ok_or_else(|| {
                let known: Vec<&str> =
                    variables.iter().map(|(name, _)| name.as_str()).chain(OWN.map(|o| o.0)).collect();
                let error = Error::unknown(&format!("{place}: placeholder"), name, known);
                Error::input(format!("{error}; braces themselves are written {{{{ and }}}}"))
            })
        })?;
        Ok(Template { line, variables })
    }

    /// Parameters that the command does not name, where it names others: a program may read their variables, or
    /// somebody has forgotten them.
    pub fn unnamed(&self) -> Vec<(&str, &str)> {
        let named = |variable: &str| {
            let behind = |at: usize| self.line[at + variable.len()..].chars().next();
            let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            self.line.match_indices(variable).any(|(at, _)| behind(at).is_none_or(is_end))
        };
        if named("HPT_PARAMS") || !self.variables.iter().any(|(_, variable)| named(variable)) {
            return Vec::new();
        }
        let unnamed = self.variables.iter().filter(|(_, variable)| !named(variable));
        unnamed.map(|(name, variable)| (name.as_str(), variable.as_str())).collect()
    }

    /// The environment variables of a trial: `HPT_NAME` for each parameter of the space, empty where it is not active,
    /// and what it is itself.
    pub fn environment(&self, params: &Params, about: About<'_>) -> Vec<(String, String)> {
        let value = |name: &String| params.get(name).map(Value::to_string).unwrap_or_default();
        let mut all: Vec<(String, String)> =
            self.variables.iter().map(|(name, variable)| (variable.clone(), value(name))).collect();
        let json = serde_json::to_string(params).unwrap_or_default();
        let own = [about.number.to_string(), about.seed.to_string(), about.study.to_owned(), json];
        all.extend(OWN.iter().map(|(_, variable)| (*variable).to_owned()).zip(own));
        all
    }
}

/// `HPT_LEARNING_RATE` for `learning_rate`.
fn variable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("HPT_{}", name.chars().map(letter).collect::<String>())
}

/// The command with its placeholders replaced by references to the variables that `find` names.
///
/// A brace of the shell, of awk or of JSON needs its partner: a `{` without a `}` is most likely a placeholder that was
/// not finished, which every trial would fail with. `{{` and `}}` are for a brace that stands alone; while a brace is
/// open a `}}` closes two.
fn shell_line(place: &str, command: &str, find: &dyn Fn(&str) -> Result<Found>) -> Result<String> {
    let mut line = String::with_capacity(command.len());
    let (mut at, mut quotes) = (0, Quotes::None);
    // Where braces were opened that are not closed yet.
    let mut open: Vec<usize> = Vec::new();
    while let Some(c) = command[at..].chars().next() {
        let rest = &command[at..];
        let mut taken = c.len_utf8();
        match (c, quotes) {
            ('{', _) if rest.starts_with("{{") => {
                line.push(c);
                taken = 2;
            }
            ('}', _) if open.pop().is_some() => line.push(c),
            ('}', _) if rest.starts_with("}}") => {
                line.push(c);
                taken = 2;
            }
            ('}', _) => return Err(wrong(place, command, at, "a } without its {", ALONE)),
            ('{', _) if line.ends_with('$') => {
                open.push(at);
                line.push(c);
            }
            ('{', _) => match piece(rest, find) {
                Piece::Placeholder(name) => {
                    let Found { variable, .. } = find(name)?;
                    line.push_str(&match quotes {
                        Quotes::None => format!("\"${{{variable}}}\""),
                        Quotes::Double => format!("${{{variable}}}"),
                        Quotes::Single => format!("'\"${{{variable}}}\"'"),
                    });
                    taken = name.len() + 2;
                }
                Piece::Nearly(text, name) => {
                    let remedy =
                        format!("the value is written {{{name}}} and nothing else, a brace itself {{{{ or }}}}");
                    return Err(wrong(place, command, at, &format!("`{text}`"), &remedy));
                }
                Piece::Empty => {
                    let remedy = "a placeholder has a name, as in {learning_rate}; braces themselves are written {{}}";
                    return Err(wrong(place, command, at, "`{}`", remedy));
                }
                Piece::Text => {
                    open.push(at);
                    line.push(c);
                }
            },
            // The next character is not what it seems.
            ('\\', Quotes::None | Quotes::Double) => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
                line.push_str(&rest[..taken]);
            }
            ('\'', Quotes::None | Quotes::Single) => {
                quotes = if quotes == Quotes::None { Quotes::Single } else { Quotes::None };
                line.push(c);
            }
            ('"', Quotes::None | Quotes::Double) => {
                quotes = if quotes == Quotes::None { Quotes::Double } else { Quotes::None };
                line.push(c);
            }
            _ => line.push(c),
        }
        at += taken;
    }
    match open.first() {
        Some(&at) => Err(wrong(place, command, at, "a { without its }", ALONE)),
        None => Ok(line),
    }
}

/// What helps against a brace without its partner.
const ALONE: &str = "a placeholder is written {name}, a brace that stands alone {{ or }}";

/// An error about the character of the command that stands at byte `at`.
fn wrong(place: &str, command: &str, at: usize, found: &str, remedy: &str) -> Error {
    let (before, rest) = command.split_at(at);
    let (lines, start) = (before.matches('\n').count(), before.rfind('\n').map_or(0, |end| end + 1));
    let character = before[start..].chars().count() + 1;
    let line = if command.contains('\n') { format!("line {}, ", lines + 1) } else { String::new() };
    let shown: String = rest.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    Error::input(format!("{place}: {line}character {character}: {found} (at `{shown}`); {remedy}"))
}

/// Characters of the command that an error shows.
const SHOWN: usize = 30;

/// What a `{` begins.
enum Piece<'a> {
    /// `{name}`.
    Placeholder(&'a str),
    /// What was meant as the placeholder of this name: `{ name }`, or with a format behind the name.
    Nearly(&'a str, &'a str),
    /// `{}`.
    Empty,
    /// Something else, in which further braces may stand.
    Text,
}

/// What `text`, which begins with a `{`, begins with; `find` knows the names.
fn piece<'a>(text: &'a str, find: &dyn Fn(&str) -> Result<Found>) -> Piece<'a> {
    let Some(end) = text.find('}') else { return Piece::Text };
    let (all, inside) = (&text[..=end], &text[1..end]);
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    if inside.is_empty() {
        return Piece::Empty;
    }
    if inside.starts_with(|c: char| c.is_alphabetic() || c == '_') && inside.chars().all(is_name) {
        return Piece::Placeholder(inside);
    }
    let inside = inside.trim();
    let name = &inside[..inside.find(|c| !is_name(c)).unwrap_or(inside.len())];
    let behind = inside[name.len()..].chars().next();
    match find(name) {
        // `:` and `!` begin what Python calls a format.
        Ok(Found { is_parameter: true, .. }) if behind.is_none_or(|c| ":!".contains(c)) => Piece::Nearly(all, name),
        _ => Piece::Text,
    }
}

/// What a placeholder's name stands for.
struct Found {
    variable: String,
    is_parameter: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Expand;
    use std::process::Command;

    fn space(text: &str) -> Space {
        Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap()
    }

    fn words() -> Space {
        space("word = { choice = [\"a\"] }\nx = { float = [0.0, 1.0] }")
    }

    /// What a shell makes of the command where the parameter `word` has this value.
    fn shell(command: &str, word: &str) -> String {
        let template = Template::new("--command", command, &words()).unwrap();
        let params = Params::from_iter([("word".to_owned(), Value::Text(word.to_owned()))]);
        let about = About { number: 7, seed: 1, study: "s" };
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&template.line).envs(template.environment(&params, about));
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{}: {}", template.line, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn values_are_single_words_wherever_they_stand() {
        for word in
            ["plain", "two words", "it's", "a\"b", "$(echo no)", "`echo no`", "$HOME", "; echo no", "*", "ü\\n", ""]
        {
            for command in ["printf '<%s>' {word}", "printf '<%s>' \"{word}\"", "printf '<%s>' '{word}'"] {
                assert_eq!(shell(command, word), format!("<{word}>"), "{command}");
            }
            assert_eq!(shell("printf '<%s>' a{word}b 'c {word} d'", word), format!("<a{word}b><c {word} d>"));
        }
    }

    #[test]
    fn other_braces_stay() {
        assert_eq!(shell("A=1; printf '%s' ${A} {{x}} {a,b} '{ 1 }' \\{x\\}", "w"), "1{x}{a,b}{ 1 }{x}");
        assert_eq!(
            shell("printf '%s,' {trial_number} {study} {x}; printf '%s' \"$HPT_PARAMS\"", "w"),
            "7,s,,{\"word\":\"w\"}"
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let refused =
            |command: &str, names: &str| Template::new("--command", command, &space(names)).unwrap_err().to_string();
        let found = refused("./a {learning_rat}", "learning_rate = { float = [0.0, 1.0] }");
        assert!(
            found.starts_with("--command: placeholder: `learning_rat` is not known; did you mean `learning_rate`?")
        );
        assert!(refused(" ", "x = { float = [0.0, 1.0] }").contains("is empty"));
        let found = refused("./a", "a-b = { float = [0.0, 1.0] }\na_b = { float = [0.0, 1.0] }");
        assert!(found.contains("HPT_A_B") && found.contains("`a-b`"), "{found}");
        assert!(refused("./a", "params = { float = [0.0, 1.0] }").contains("HPT_PARAMS"));
    }

    #[test]
    fn a_brace_needs_its_partner() {
        for (command, place, what) in [
            ("echo 1 {x", "character 8", "a { without its } (at `{x`)"),
            ("echo {x; ./a {word}", "character 6", "a { without its }"),
            ("echo ü {x\n./a", "line 1, character 8", "a { without its } (at `{x`)"),
            ("echo 1\n./a x}", "line 2, character 6", "a } without its {"),
            ("./a {x}}", "character 8", "a } without its {"),
            ("./a {}", "character 5", "`{}`"),
            ("./a { x }", "character 5", "`{ x }`"),
            ("./a {x:.3f}", "character 5", "`{x:.3f}`"),
            ("./a {x!r}", "character 5", "`{x!r}`"),
            ("echo '{{\"a\": {x}}'", "character 17", "a } without its {"),
            ("echo ${HOME", "character 7", "a { without its }"),
        ] {
            let found = Template::new("--command", command, &words()).map(|t| t.line).unwrap_err().to_string();
            let start = format!("--command: {place}: {what}");
            assert!(found.starts_with(&start) && found.contains("{{"), "{command}: {found}");
        }
        // What shells, awk and JSON make of braces is theirs.
        for (command, expected) in [
            ("printf '%s' '{\"a\": {\"b\": {trial_number}}}'", "{\"a\": {\"b\": 7}}"),
            ("printf '%s' '{{\"a\": {{\"b\": {trial_number}}}}}'", "{\"a\": {\"b\": 7}}"),
            ("A=; printf '%s' ${A:-${HPT_STUDY}}", "s"),
            ("A=; printf '%s' \"${A:-{study}}\"", "s"),
            ("echo 3 4 | awk '{for (i = 1; i <= NF; i++) {s += $i}} END {printf \"%d\", s}'", "7"),
            ("printf '%s' '{{' '}}' \\{ '{{}}'", "{}{{}"),
            ("f() { printf '%s' {study}; }; f", "s"),
            ("printf '%s' '{ y }' '{x+1}'", "{ y }{x+1}"),
        ] {
            assert_eq!(shell(command, "w"), expected, "{command}");
        }
    }

    #[test]
    fn what_a_command_does_not_name_is_known() {
        let unnamed = |command: &str| {
            let template = Template::new("--command", command, &words()).unwrap();
            template.unnamed().iter().map(|(_, variable)| (*variable).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(unnamed("./a {x}"), ["HPT_WORD"]);
        assert_eq!(unnamed("./a {word}"), ["HPT_X"]);
        assert!(unnamed("./a {word} $HPT_X").is_empty() && unnamed("./a {x} {params}").is_empty());
        assert!(unnamed("./a").is_empty(), "it reads them itself");
        assert_eq!(unnamed("./a {word} $HPT_XY"), ["HPT_X"]);
    }
}
