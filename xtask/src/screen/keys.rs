//! Keys to be pressed, from how people write them.
//!
//! A text stands for the keys of an American keyboard that type it; `\n` is Enter, `\t`
//! the tabulator, `\e` Escape, `\\` a backslash. `\<shift-pgup>` presses keys together,
//! by QEMU's names for them.

use anyhow::{Context, Result, bail};

/// Keys that are pressed together, by QEMU's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chord(pub(crate) Vec<String>);

/// What keys type, alone and with Shift.
const SIGNS: [(&str, char, char); 11] = [
    ("minus", '-', '_'),
    ("equal", '=', '+'),
    ("bracket_left", '[', '{'),
    ("bracket_right", ']', '}'),
    ("semicolon", ';', ':'),
    ("apostrophe", '\'', '"'),
    ("grave_accent", '`', '~'),
    ("backslash", '\\', '|'),
    ("comma", ',', '<'),
    ("dot", '.', '>'),
    ("slash", '/', '?'),
];
/// What the digits' keys type with Shift, from 0 on.
const ABOVE_DIGITS: &str = ")!@#$%^&*(";

/// Returns the keys that a text stands for.
///
/// # Errors
///
/// Names a character that no key types.
pub(crate) fn parse(text: &str) -> Result<Vec<Chord>> {
    let mut chords = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let chord = if character == '\\' {
            escaped(&mut characters)?
        } else {
            typed(character)?
        };
        chords.push(chord);
    }
    Ok(chords)
}

fn escaped(characters: &mut std::str::Chars<'_>) -> Result<Chord> {
    match characters.next() {
        Some('n') => typed('\n'),
        Some('t') => typed('\t'),
        Some('e') => Ok(Chord(vec!["esc".to_owned()])),
        Some('\\') => typed('\\'),
        Some('<') => {
            let (names, rest) = characters
                .as_str()
                .split_once('>')
                .context("keys: `\\<` has no `>`")?;
            let chord = Chord(names.split('-').map(str::to_owned).collect());
            *characters = rest.chars();
            Ok(chord)
        }
        Some(other) => bail!("keys: `\\{other}` means nothing"),
        None => bail!("keys: nothing follows the last `\\`"),
    }
}

/// Returns the keys that type a character.
fn typed(character: char) -> Result<Chord> {
    let plain = |name: &str| Chord(vec![name.to_owned()]);
    let shifted = |name: &str| Chord(vec!["shift".to_owned(), name.to_owned()]);
    let digit = ABOVE_DIGITS.chars().position(|sign| sign == character);
    let sign = SIGNS
        .iter()
        .find(|(_, below, above)| [*below, *above].contains(&character));
    Ok(match (character, digit, sign) {
        ('\n', ..) => plain("ret"),
        ('\t', ..) => plain("tab"),
        (' ', ..) => plain("spc"),
        ('a'..='z' | '0'..='9', ..) => plain(&character.to_string()),
        ('A'..='Z', ..) => shifted(&character.to_ascii_lowercase().to_string()),
        (_, Some(digit), _) => shifted(&digit.to_string()),
        (_, _, Some((name, below, _))) if *below == character => plain(name),
        (_, _, Some((name, ..))) => shifted(name),
        _ => bail!("keys: no key types {character:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn keys(text: &str) -> Vec<String> {
        let chords = parse(text).unwrap().into_iter();
        chords.map(|chord| chord.0.join("-")).collect()
    }

    #[test]
    fn text_is_typed_key_by_key() {
        assert_eq!(keys("aZ 9\\n"), ["a", "shift-z", "spc", "9", "ret"]);
        assert_eq!(
            keys("-_|)"),
            ["minus", "shift-minus", "shift-backslash", "shift-0"]
        );
        assert_eq!(
            keys("\\\\\\e\\<shift-pgup>b"),
            ["backslash", "esc", "shift-pgup", "b"]
        );
        assert!((' '..='~').all(|sign| sign == '\\' || parse(&sign.to_string()).is_ok()));
    }

    #[test]
    fn what_no_key_types_is_named() {
        for (bad, named) in [
            ("ä", "ä"),
            ("\\q", "\\q"),
            ("a\\", "last"),
            ("\\<shift", "`>`"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
