//! Words and operators put together into commands.
//!
//! ```text
//! list     := pipeline (("&&" | "||" | ";" | "&") pipeline)*
//! pipeline := "!"? command ("|" command)*
//! command  := NAME=word* (word | redirection word)*
//! ```
//! `&` sends the one pipeline before it to the background.

use super::words::{Content, LexError, Redirect, RedirectKind, Token, Word, is_name, tokens};

/// When a pipeline runs, by how the last one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// After `&&`.
    Success,
    /// After `||`.
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    pub(super) when: When,
    pub(super) is_negated: bool,
    pub(super) is_background: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) assignments: Vec<(String, Word)>,
    pub(super) words: Vec<Word>,
    pub(super) redirects: Vec<(Redirect, Word)>,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SyntaxError {
    /// More lines may complete it.
    Incomplete,
    Wrong(&'static str),
}

impl From<LexError> for SyntaxError {
    fn from(error: LexError) -> Self {
        match error {
            LexError::Incomplete => Self::Incomplete,
            LexError::Wrong(what) => Self::Wrong(what),
        }
    }
}

/// Reads the pipelines of a text, in order.
pub(super) fn parse(text: &str) -> Result<Vec<Pipeline>, SyntaxError> {
    let mut list = Vec::new();
    let mut when = When::Always;
    let mut rest = tokens(text)?.into_iter().peekable();
    while rest.peek().is_some() {
        if when == When::Always && rest.next_if_eq(&Token::Semicolon).is_some() {
            continue;
        }
        let mut pipeline = Pipeline {
            when,
            is_negated: false,
            is_background: false,
            commands: Vec::new(),
        };
        while rest.next_if(|token| is_word(token, "!")).is_some() {
            pipeline.is_negated = !pipeline.is_negated;
        }
        loop {
            pipeline.commands.push(command(&mut rest)?);
            if rest.next_if_eq(&Token::Pipe).is_none() {
                break;
            }
            if rest.peek().is_none() {
                return Err(SyntaxError::Incomplete);
            }
        }
        when = match rest.next() {
            Some(Token::And) => When::Success,
            Some(Token::Or) => When::Failure,
            Some(Token::Background) => {
                pipeline.is_background = true;
                When::Always
            }
            _ => When::Always,
        };
        list.push(pipeline);
    }
    match when {
        When::Always => Ok(list),
        When::Success | When::Failure => Err(SyntaxError::Incomplete),
    }
}

/// Reads one command, which must not be empty.
fn command(
    rest: &mut std::iter::Peekable<impl Iterator<Item = Token>>,
) -> Result<Command, SyntaxError> {
    let mut command = Command::default();
    let is_part = |token: &Token| matches!(token, Token::Word(_) | Token::Redirect(_));
    while let Some(token) = rest.next_if(is_part) {
        match token {
            Token::Word(word) if command.words.is_empty() => match assignment(&word) {
                Some(assignment) => command.assignments.push(assignment),
                None => command.words.push(word),
            },
            Token::Word(word) => command.words.push(word),
            Token::Redirect(redirect) => {
                let Some(Token::Word(word)) = rest.next() else {
                    return Err(SyntaxError::Wrong("a redirection needs a file"));
                };
                if redirect.kind == RedirectKind::Copy && copied_file(&word).is_none() {
                    return Err(SyntaxError::Wrong("after >& comes 1 or 2"));
                }
                command.redirects.push((redirect, word));
            }
            _ => {}
        }
    }
    if command == Command::default() {
        return Err(SyntaxError::Wrong("a command is missing"));
    }
    Ok(command)
}

fn is_word(token: &Token, text: &str) -> bool {
    match token {
        Token::Word(word) => plain(word) == Some(text),
        _ => false,
    }
}

/// Returns a word's text if it is one piece that is not quoted.
fn plain(word: &Word) -> Option<&str> {
    match word.0.as_slice() {
        [piece] if !piece.is_quoted => match &piece.content {
            Content::Text(text) => Some(text),
            Content::Variable(_) => None,
        },
        _ => None,
    }
}

/// Returns which file of a command a word after `>&` means.
pub(super) fn copied_file(word: &Word) -> Option<u8> {
    match plain(word)? {
        "1" => Some(1),
        "2" => Some(2),
        _ => None,
    }
}

/// Reads `NAME=word`.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let (first, others) = word.0.split_first()?;
    let Content::Text(text) = &first.content else {
        return None;
    };
    let (name, value) = text.split_once('=').filter(|_| !first.is_quoted)?;
    if !is_name(name) {
        return None;
    }
    let mut first = first.clone();
    first.content = Content::Text(value.to_owned());
    let pieces = std::iter::once(first).chain(others.iter().cloned());
    Some((name.to_owned(), Word(pieces.collect())))
}

#[cfg(test)]
mod tests {
    use super::{SyntaxError, When, parse};

    #[test]
    fn pipelines_know_when_they_run() {
        let list = parse("a | b && ! c || d ; e & f").expect("a list");
        let whens: Vec<_> = list.iter().map(|pipeline| pipeline.when).collect();
        let always = When::Always;
        assert_eq!(
            whens,
            [always, When::Success, When::Failure, always, always]
        );
        assert_eq!(list[0].commands.len(), 2);
        assert!(list[1].is_negated && !list[0].is_negated);
        assert!(list[3].is_background && !list[4].is_background);
    }

    #[test]
    fn assignments_stand_in_front() {
        let list = parse("A=1 B='x y' run C=3 > out 2>&1").expect("a list");
        let command = &list[0].commands[0];
        let names: Vec<_> = command.assignments.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "B"]);
        assert_eq!((command.words.len(), command.redirects.len()), (2, 2));
        let command = &parse("1=2").expect("a command")[0].commands[0];
        assert!(command.assignments.is_empty());
    }

    #[test]
    fn empty_lines_are_nothing() {
        for text in ["", "\n", " ; ;\n", "# words"] {
            assert_eq!(parse(text), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn what_is_open_wants_more() {
        for text in ["a |", "a &&", "a ||", "'"] {
            assert_eq!(parse(text), Err(SyntaxError::Incomplete), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["| a", "a | | b", "a >", "> | b", "a 2>&3", "a && ; b", "&"] {
            assert!(matches!(parse(text), Err(SyntaxError::Wrong(_))), "{text}");
        }
    }
}
