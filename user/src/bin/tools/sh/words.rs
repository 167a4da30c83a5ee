//! A line taken apart into words and operators.
//!
//! A word keeps what was quoted apart from what was not, and its variables by name,
//! since they are looked up when the command runs and not before.

use std::iter::Peekable;
use std::str::Chars;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(Word),
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;`, or the end of a line
    Semicolon,
    /// `&`
    Background,
    Redirect(Redirect),
}

/// What a file of the command is to be; the word after it says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    /// 0, 1 or 2.
    pub(super) file: u8,
    pub(super) kind: RedirectKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedirectKind {
    /// `<`
    Read,
    /// `>`
    Write,
    /// `>>`
    Append,
    /// `>&`: as another file of the command.
    Copy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) Vec<Piece>);

/// A part of a word; if it is quoted, it is taken as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) content: Content,
    pub(super) is_quoted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// The value of a variable, or `?`, `$`, `#` or a number.
    Variable(String),
}

/// Why a line cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LexError {
    /// A quote is open: more lines may close it.
    Incomplete,
    Wrong(&'static str),
}

/// Takes a line, or several, apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, LexError> {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        tokens: Vec::new(),
        word: None,
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    tokens: Vec<Token>,
    /// The word that is being read.
    word: Option<Word>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), LexError> {
        while let Some(char) = self.rest.next() {
            match char {
                ' ' | '\t' | '\r' => self.end_word(),
                '\n' | ';' => self.operator(Token::Semicolon),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '|' if self.takes('|') => self.operator(Token::Or),
                '|' => self.operator(Token::Pipe),
                '&' if self.takes('&') => self.operator(Token::And),
                '&' => self.operator(Token::Background),
                '<' | '>' => self.redirect(char),
                '(' | ')' | '`' => return Err(LexError::Wrong("( ) and ` are not known here")),
                '\'' => self.single_quotes()?,
                '"' => self.double_quotes()?,
                '\\' => match self.rest.next() {
                    None => return Err(LexError::Incomplete),
                    Some('\n') => {}
                    Some(char) => self.push_char(char, true),
                },
                '$' => self.variable(false)?,
                _ => self.push_char(char, false),
            }
        }
        self.end_word();
        Ok(())
    }

    /// Goes on if the next character is this one.
    fn takes(&mut self, char: char) -> bool {
        self.rest.next_if_eq(&char).is_some()
    }

    fn end_word(&mut self) {
        self.tokens.extend(self.word.take().map(Token::Word));
    }

    fn operator(&mut self, token: Token) {
        self.end_word();
        self.tokens.push(token);
    }

    fn redirect(&mut self, char: char) {
        let file = self.file_number().unwrap_or(u8::from(char == '>'));
        self.end_word();
        let kind = match char {
            '<' => RedirectKind::Read,
            _ if self.takes('>') => RedirectKind::Append,
            _ if self.takes('&') => RedirectKind::Copy,
            _ => RedirectKind::Write,
        };
        self.tokens.push(Token::Redirect(Redirect { file, kind }));
    }

    /// Takes the word that is being read if it is the number of a file.
    fn file_number(&mut self) -> Option<u8> {
        let [piece] = self.word.as_ref()?.0.as_slice() else {
            return None;
        };
        let Content::Text(text) = &piece.content else {
            return None;
        };
        let is_number = !piece.is_quoted && ["0", "1", "2"].contains(&text.as_str());
        let number = text.parse().ok().filter(|_| is_number)?;
        self.word = None;
        Some(number)
    }

    fn single_quotes(&mut self) -> Result<(), LexError> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err(LexError::Incomplete),
                Some('\'') => break,
                Some(char) => text.push(char),
            }
        }
        self.push(Content::Text(text), true);
        Ok(())
    }

    fn double_quotes(&mut self) -> Result<(), LexError> {
        // An empty pair is a word, too.
        self.push(Content::Text(String::new()), true);
        loop {
            match self.rest.next() {
                None => return Err(LexError::Incomplete),
                Some('"') => return Ok(()),
                Some('$') => self.variable(true)?,
                Some('\\') => match self.rest.next() {
                    None => return Err(LexError::Incomplete),
                    Some('\n') => {}
                    Some(char @ ('"' | '\\' | '$' | '`')) => self.push_char(char, true),
                    Some(char) => {
                        self.push_char('\\', true);
                        self.push_char(char, true);
                    }
                },
                Some(char) => self.push_char(char, true),
            }
        }
    }

    /// Reads what follows `$`, which stands for itself if that is no name.
    fn variable(&mut self, is_quoted: bool) -> Result<(), LexError> {
        let name = if self.takes('{') {
            let mut name = String::new();
            loop {
                match self.rest.next() {
                    None => return Err(LexError::Incomplete),
                    Some('}') => break name,
                    Some(char) => name.push(char),
                }
            }
        } else if let Some(char) = self
            .rest
            .next_if(|c| matches!(c, '?' | '$' | '#' | '0'..='9'))
        {
            char.to_string()
        } else {
            let mut name = String::new();
            while let Some(char) = self
                .rest
                .next_if(|c| *c == '_' || c.is_ascii_alphanumeric())
            {
                name.push(char);
            }
            if name.is_empty() {
                self.push_char('$', is_quoted);
                return Ok(());
            }
            name
        };
        if !is_special(&name) && !is_name(&name) {
            return Err(LexError::Wrong("this is not the name of a variable"));
        }
        self.push(Content::Variable(name), is_quoted);
        Ok(())
    }

    fn push_char(&mut self, char: char, is_quoted: bool) {
        self.push(Content::Text(char.to_string()), is_quoted);
    }

    fn push(&mut self, content: Content, is_quoted: bool) {
        let pieces = &mut self.word.get_or_insert_default().0;
        if let (Some(last), Content::Text(new)) = (pieces.last_mut(), &content)
            && last.is_quoted == is_quoted
            && let Content::Text(text) = &mut last.content
        {
            text.push_str(new);
            return;
        }
        pieces.push(Piece { content, is_quoted });
    }
}

/// Returns whether this can be a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
}

fn is_special(name: &str) -> bool {
    ["?", "$", "#"].contains(&name)
        || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{Content, LexError, Piece, Redirect, RedirectKind, Token, Word, tokens};

    fn text(text: &str, is_quoted: bool) -> Piece {
        let content = Content::Text(text.to_owned());
        Piece { content, is_quoted }
    }

    fn variable(name: &str, is_quoted: bool) -> Piece {
        let content = Content::Variable(name.to_owned());
        Piece { content, is_quoted }
    }

    fn word(pieces: &[Piece]) -> Token {
        Token::Word(Word(pieces.to_vec()))
    }

    #[track_caller]
    fn assert_tokens(line: &str, expected: &[Token]) {
        assert_eq!(tokens(line).as_deref(), Ok(expected), "{line}");
    }

    #[test]
    fn words_are_split_at_blanks_alone() {
        let a = || word(&[text("a", false)]);
        assert_tokens("  a\ta ", &[a(), a()]);
        assert_tokens("a # the rest", &[a()]);
        assert_tokens("a#a", &[word(&[text("a#a", false)])]);
        assert_tokens("", &[]);
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        assert_tokens("'a b'c", &[word(&[text("a b", true), text("c", false)])]);
        assert_tokens("\"a'b\\\"\\n\"", &[word(&[text("a'b\"\\n", true)])]);
        assert_tokens("''", &[word(&[text("", true)])]);
        assert_tokens("\"\"", &[word(&[text("", true)])]);
        assert_tokens(
            "a\\ b",
            &[word(&[text("a", false), text(" ", true), text("b", false)])],
        );
    }

    #[test]
    fn variables_are_named_and_not_looked_up() {
        assert_tokens(
            "$HOME/x",
            &[word(&[variable("HOME", false), text("/x", false)])],
        );
        let quoted = [text("", true), variable("a", true), text("b", true)];
        assert_tokens("\"${a}b\"", &[word(&quoted)]);
        assert_tokens("$?", &[word(&[variable("?", false)])]);
        assert_tokens(
            "$ $%",
            &[word(&[text("$", false)]), word(&[text("$%", false)])],
        );
        assert!(matches!(tokens("${a b}"), Err(LexError::Wrong(_))));
    }

    #[test]
    fn operators_end_words() {
        let a = || word(&[text("a", false)]);
        assert_tokens("a|a||a", &[a(), Token::Pipe, a(), Token::Or, a()]);
        assert_tokens("a&&a&", &[a(), Token::And, a(), Token::Background]);
        assert_tokens("a;a\n", &[a(), Token::Semicolon, a(), Token::Semicolon]);
        assert!(matches!(tokens("(a)"), Err(LexError::Wrong(_))));
    }

    #[test]
    fn redirections_name_files_by_number() {
        let a = || word(&[text("a", false)]);
        let redirect = |file, kind| Token::Redirect(Redirect { file, kind });
        assert_tokens("a>a", &[a(), redirect(1, RedirectKind::Write), a()]);
        assert_tokens("a 2>>a", &[a(), redirect(2, RedirectKind::Append), a()]);
        let one = || word(&[text("1", false)]);
        assert_tokens("a 2>&1", &[a(), redirect(2, RedirectKind::Copy), one()]);
        assert_tokens("<a", &[redirect(0, RedirectKind::Read), a()]);
        let quoted = word(&[text("2", true)]);
        assert_tokens("'2'>a", &[quoted, redirect(1, RedirectKind::Write), a()]);
        let long = word(&[text("a2", false)]);
        assert_tokens("a2>a", &[long, redirect(1, RedirectKind::Write), a()]);
    }

    #[test]
    fn open_quotes_want_more() {
        for line in ["'a", "\"a", "a\\", "\"a\\", "${a"] {
            assert_eq!(tokens(line), Err(LexError::Incomplete), "{line}");
        }
    }
}
