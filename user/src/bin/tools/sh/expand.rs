//! What words stand for: values of variables, and the names of files that match.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::words::{Content, Word};

/// Variables, and what else `$` leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// Values, and whether programs see them.
    values: BTreeMap<String, (String, bool)>,
    /// How the last command ended.
    pub(super) status: u8,
    /// `$0`, `$1` and so on.
    pub(super) arguments: Vec<String>,
}

impl Variables {
    /// Starts with what this process was given.
    pub(super) fn from_environment() -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let pairs = std::env::vars_os().filter_map(|(name, value)| text(name).zip(text(value)));
        Self {
            values: pairs.map(|(name, value)| (name, (value, true))).collect(),
            ..Self::default()
        }
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        let is_exported = self.values.get(name).is_some_and(|(_, exported)| *exported);
        self.values.insert(name.to_owned(), (value, is_exported));
    }

    pub(super) fn export(&mut self, name: &str) {
        self.values.entry(name.to_owned()).or_default().1 = true;
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// Returns what programs see.
    pub(super) fn exported(&self) -> impl Iterator<Item = (&str, &str)> {
        let exported = self.values.iter().filter(|(_, (_, exported))| *exported);
        exported.map(|(name, (value, _))| (name.as_str(), value.as_str()))
    }

    /// Returns what `$name` is; nothing if there is no such variable.
    pub(super) fn value(&self, name: &str) -> String {
        match name {
            "?" => self.status.to_string(),
            "$" => std::process::id().to_string(),
            "#" => self.arguments.len().saturating_sub(1).to_string(),
            _ => match name.parse::<usize>() {
                Ok(index) => self.arguments.get(index).cloned().unwrap_or_default(),
                Err(_) => self
                    .values
                    .get(name)
                    .map(|(value, _)| value.clone())
                    .unwrap_or_default(),
            },
        }
    }
}

/// A word with its variables put in: its characters, and whether they may be
/// patterns.
type Field = Vec<(char, bool)>;

/// Returns what a word stands for as one text, as after `=` and `>`.
pub(super) fn one(word: &Word, variables: &Variables) -> String {
    let mut text = String::new();
    for piece in &word.0 {
        match &piece.content {
            Content::Text(piece) => text.push_str(piece),
            Content::Variable(name) => text.push_str(&variables.value(name)),
        }
    }
    text
}

/// Returns the words that a word stands for: values that are not quoted are split at
/// blanks, and patterns become the names that match, if any do.
pub(super) fn many(word: &Word, variables: &Variables) -> Vec<String> {
    let mut words = Vec::new();
    for field in fields(word, variables) {
        let text: String = field.iter().map(|(char, _)| char).collect();
        let is_pattern = field
            .iter()
            .any(|(char, special)| *special && is_wild(*char));
        let mut names = if is_pattern {
            matches(&field)
        } else {
            Vec::new()
        };
        if names.is_empty() {
            names.push(text);
        }
        words.append(&mut names);
    }
    words
}

fn fields(word: &Word, variables: &Variables) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut current: Option<Field> = None;
    for piece in &word.0 {
        match &piece.content {
            Content::Text(text) => {
                let chars = text.chars().map(|char| (char, !piece.is_quoted));
                current.get_or_insert_default().extend(chars);
            }
            Content::Variable(name) if piece.is_quoted => {
                let value = variables.value(name);
                let chars = value.chars().map(|char| (char, false));
                current.get_or_insert_default().extend(chars);
            }
            Content::Variable(name) => {
                for char in variables.value(name).chars() {
                    if char.is_whitespace() {
                        fields.extend(current.take());
                    } else {
                        current.get_or_insert_default().push((char, true));
                    }
                }
            }
        }
    }
    fields.extend(current);
    fields
}

fn is_wild(char: char) -> bool {
    matches!(char, '*' | '?')
}

/// Returns the names of files that a pattern matches, in order.
fn matches(pattern: &Field) -> Vec<String> {
    let is_absolute = pattern.first().is_some_and(|(char, _)| *char == '/');
    let mut found = vec![if is_absolute { "/" } else { "" }.to_owned()];
    for part in pattern.split(|(char, _)| *char == '/') {
        if part.is_empty() {
            continue;
        }
        let mut next = Vec::new();
        for base in &found {
            next.extend(children(base, part));
        }
        found = next;
    }
    found
}

/// Returns what one part of a pattern matches in a directory.
fn children(base: &str, part: &[(char, bool)]) -> Vec<String> {
    let join = |name: &str| match base {
        "" => name.to_owned(),
        _ if base.ends_with('/') => format!("{base}{name}"),
        _ => format!("{base}/{name}"),
    };
    if !part
        .iter()
        .any(|(char, special)| *special && is_wild(*char))
    {
        let path = join(&part.iter().map(|(char, _)| char).collect::<String>());
        let exists = Path::new(&path).symlink_metadata().is_ok();
        return exists.then_some(path).into_iter().collect();
    }
    let directory = if base.is_empty() { "." } else { base };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let wants_hidden = part[0].0 == '.';
    let fits = |name: &String| (wants_hidden || !name.starts_with('.')) && fits(part, name);
    let mut paths: Vec<_> = names.filter(fits).map(|name| join(&name)).collect();
    paths.sort();
    paths
}

/// Returns whether a name is one that a pattern means.
fn fits(pattern: &[(char, bool)], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    // Where to go on if the last `*` has to take one more.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(('*', true)) => {
                star = Some((at, in_name));
                at += 1;
                continue;
            }
            Some((char, special)) if *char == name[in_name] || (*special && *char == '?') => {
                at += 1;
                in_name += 1;
                continue;
            }
            _ => {}
        }
        let Some((place, taken)) = star else {
            return false;
        };
        star = Some((place, taken + 1));
        at = place + 1;
        in_name = taken + 1;
    }
    pattern[at..].iter().all(|part| *part == ('*', true))
}

#[cfg(test)]
mod tests {
    use super::super::words::{Token, tokens};
    use super::{Variables, fits, many, one};

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("two", "x  y ".to_owned());
        variables.arguments = vec!["sh".to_owned(), "first".to_owned()];
        variables.status = 7;
        variables
    }

    fn expand(line: &str) -> Vec<String> {
        let words = tokens(line).expect("a line").into_iter();
        let words = words.flat_map(|token| match token {
            Token::Word(word) => many(&word, &variables()),
            _ => Vec::new(),
        });
        words.collect()
    }

    #[test]
    fn values_are_split_unless_they_are_quoted() {
        assert_eq!(expand("a$two!"), ["ax", "y", "!"]);
        assert_eq!(expand("\"$two\""), ["x  y "]);
        assert_eq!(expand("$none \"$none\""), [""]);
        assert_eq!(expand("$? $# $1 $2 '$1'"), ["7", "1", "first", "$1"]);
    }

    #[test]
    fn value_of_an_assignment_stays_whole() {
        let Some(Token::Word(word)) = tokens("$two*").expect("a line").pop() else {
            panic!("no word");
        };
        assert_eq!(one(&word, &variables()), "x  y *");
    }

    #[test]
    fn patterns_match_names() {
        let fits = |pattern: &str, name: &str| {
            let pattern: Vec<_> = pattern.chars().map(|char| (char, true)).collect();
            fits(&pattern, name)
        };
        for (pattern, name) in [
            ("*", "a"),
            ("*", ""),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*a*", "bab"),
            ("*ab", "aab"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "b"), ("a*", "ba"), ("?", ""), ("a*b", "abc")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_become_the_names_of_files() {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["b.rs", "a.rs", "c.txt", ".hidden.rs"] {
            std::fs::write(root.path().join(name), "").expect("a file");
        }
        let root = root.path().to_str().expect("text");
        let names = expand(&format!("{root}/*.rs"));
        assert_eq!(names, [format!("{root}/a.rs"), format!("{root}/b.rs")]);
        assert_eq!(
            expand(&format!("{root}/*.none")),
            [format!("{root}/*.none")]
        );
        assert_eq!(
            expand(&format!("'{root}/'*.txt")),
            [format!("{root}/c.txt")]
        );
        assert_eq!(
            expand(&format!("{root}/\"*\".rs")),
            [format!("{root}/*.rs")]
        );
    }

    #[test]
    fn only_exported_variables_are_seen_by_programs() {
        let mut variables = variables();
        variables.export("two");
        variables.set("three", "3".to_owned());
        let seen: Vec<_> = variables.exported().collect();
        assert_eq!(seen, [("two", "x  y ")]);
    }
}
