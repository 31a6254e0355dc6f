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
    /// `{params}`; `{{` and `}}` are braces, and so are those that hold anything but one name, and `${…}`.
    ///
    /// # Errors
    /// [`Error::Input`]: the command is empty, a placeholder is no parameter, or two parameters would have the same
    /// variable.
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
            known.into_iter().find(|(known, _)| *known == name).map(|(_, own)| own.to_owned())
        };
        let line = shell_line(command, &|name| {
            find(name).ok_or_else(|| {
                let known: Vec<&str> =
                    variables.iter().map(|(name, _)| name.as_str()).chain(OWN.map(|o| o.0)).collect();
                let error = Error::unknown(&format!("{place}: placeholder"), name, known);
                Error::input(format!("{error}; braces themselves are written {{{{ and }}}}"))
            })
        })?;
        Ok(Template { line, variables })
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
fn shell_line(command: &str, find: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let mut line = String::with_capacity(command.len());
    let (mut rest, mut quotes) = (command, Quotes::None);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match (c, quotes) {
            ('{' | '}', _) if rest[1..].starts_with(c) => {
                line.push(c);
                taken = 2;
            }
            ('{', _) => match placeholder(rest).filter(|_| !line.ends_with('$')) {
                Some(name) => {
                    let variable = find(name)?;
                    line.push_str(&match quotes {
                        Quotes::None => format!("\"${{{variable}}}\""),
                        Quotes::Double => format!("${{{variable}}}"),
                        Quotes::Single => format!("'\"${{{variable}}}\"'"),
                    });
                    taken = name.len() + 2;
                }
                None => line.push(c),
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
        rest = &rest[taken..];
    }
    Ok(line)
}

/// The name in `{name}…`, where that is what it is.
fn placeholder(text: &str) -> Option<&str> {
    let inside = &text[1..text.find('}')?];
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    (inside.starts_with(|c: char| c.is_alphabetic() || c == '_') && inside.chars().all(is_name)).then_some(inside)
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
}
