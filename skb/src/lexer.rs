//! Tokens of the Prolog text (ISO/IEC 13211-1, 6.4), with their positions.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::error::{Position, SyntaxError, SyntaxErrorKind as Kind};

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind<'a>,
    pub(crate) at: Position,
    /// White space or a comment stands before it: `f (` is no call of `f`.
    pub(crate) layout_before: bool,
    /// An opening bracket follows at once.
    pub(crate) bracket_follows: bool,
}

/// What a token is. Its text is that of the whole, but where it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind<'a> {
    /// An atom or functor, with whether it was quoted.
    Name(Cow<'a, str>, bool),
    /// A variable.
    Variable(&'a str),
    /// The magnitude of an integer, at most 2⁶³.
    Integer(u64),
    /// A string in double quotes.
    Text(String),
    Open,
    Close,
    OpenList,
    CloseList,
    OpenCurly,
    CloseCurly,
    Comma,
    Bar,
    /// The full stop that ends a clause.
    Stop,
    /// End of the text.
    End,
}

/// Splits a text into tokens.
pub(crate) struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

const INTEGER_MAX: u64 = 1 << 63;

fn is_symbol_char(c: char) -> bool {
    "+-*/\\^<>=~:.?@#&$".contains(c)
}

fn is_name_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            at: Position { line: 1, column: 1 },
        }
    }

    /// Where the next character stands.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// The next token; [`TokenKind::End`] again and again at the end.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, SyntaxError> {
        let layout_before = self.skip_layout()?;
        let at = self.at;
        let kind = self.token(at)?;
        let bracket_follows = self.rest.starts_with('(');
        Ok(Token {
            kind,
            at,
            layout_before,
            bracket_follows,
        })
    }

    fn token(&mut self, at: Position) -> Result<TokenKind<'a>, SyntaxError> {
        let Some(c) = self.peek() else {
            return Ok(TokenKind::End);
        };
        if c.is_ascii_digit() {
            return self.number(at);
        }
        if c == '_' || c.is_uppercase() {
            return Ok(TokenKind::Variable(self.take_while(is_name_char)));
        }
        if c.is_alphabetic() {
            return Ok(TokenKind::Name(self.take_while(is_name_char).into(), false));
        }
        if c == '.' && self.ends_clause() {
            self.bump();
            return Ok(TokenKind::Stop);
        }
        if is_symbol_char(c) {
            return Ok(TokenKind::Name(
                self.take_while(is_symbol_char).into(),
                false,
            ));
        }
        self.bump();
        Ok(match c {
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            '[' => TokenKind::OpenList,
            ']' => TokenKind::CloseList,
            '{' => TokenKind::OpenCurly,
            '}' => TokenKind::CloseCurly,
            ',' => TokenKind::Comma,
            '|' => TokenKind::Bar,
            '!' => TokenKind::Name("!".into(), false),
            ';' => TokenKind::Name(";".into(), false),
            '\'' => TokenKind::Name(self.quoted('\'', at)?.into(), true),
            '"' => TokenKind::Text(self.quoted('"', at)?),
            _ => {
                return Err(SyntaxError {
                    kind: Kind::BadCharacter,
                    at,
                });
            }
        })
    }

    /// Skips white space and comments; says whether there were any.
    fn skip_layout(&mut self) -> Result<bool, SyntaxError> {
        let mut any = false;
        loop {
            let at = self.at;
            match self.peek() {
                Some(c) if c.is_whitespace() => {
                    self.bump();
                }
                Some('%') => while self.bump().is_some_and(|c| c != '\n') {},
                Some('/') if self.rest.starts_with("/*") => {
                    self.bump();
                    self.bump();
                    while !self.rest.starts_with("*/") {
                        if self.bump().is_none() {
                            return Err(SyntaxError {
                                kind: Kind::UnterminatedComment,
                                at,
                            });
                        }
                    }
                    self.bump();
                    self.bump();
                }
                _ => return Ok(any),
            }
            any = true;
        }
    }

    /// A full stop is followed by layout, a comment or the end.
    fn ends_clause(&self) -> bool {
        self.rest[1..]
            .chars()
            .next()
            .is_none_or(|c| c.is_whitespace() || c == '%')
    }

    fn number(&mut self, at: Position) -> Result<TokenKind<'a>, SyntaxError> {
        let radix = match self.rest.as_bytes() {
            [b'0', b'\'', ..] => return self.character_code(at),
            [b'0', b'x', ..] => 16,
            [b'0', b'o', ..] => 8,
            [b'0', b'b', ..] => 2,
            _ => 10,
        };
        if radix != 10 {
            self.bump();
            self.bump();
        }
        let digits = self.take_while(|c| c.is_digit(radix));
        if digits.is_empty() {
            return Err(SyntaxError {
                kind: Kind::BadNumber,
                at,
            });
        }
        let value = u64::from_str_radix(digits, radix)
            .ok()
            .filter(|value| *value <= INTEGER_MAX)
            .ok_or(SyntaxError {
                kind: Kind::IntegerTooLarge,
                at,
            })?;
        let mut ahead = self.rest.chars();
        if ahead.next() == Some('.') && ahead.next().is_some_and(|c| c.is_ascii_digit()) {
            return Err(SyntaxError {
                kind: Kind::FloatUnsupported,
                at,
            });
        }
        Ok(TokenKind::Integer(value))
    }

    /// `0'c`: the code of a character; `0'\n` and `0'''` as in quoted items.
    fn character_code(&mut self, at: Position) -> Result<TokenKind<'a>, SyntaxError> {
        self.bump();
        self.bump();
        let bad = SyntaxError {
            kind: Kind::BadNumber,
            at,
        };
        let c = match self.bump().ok_or(bad)? {
            '\\' => self.escape(at)?.ok_or(bad)?,
            '\'' if self.peek() == Some('\'') => {
                self.bump();
                '\''
            }
            '\'' => return Err(bad),
            c => c,
        };
        Ok(TokenKind::Integer(u64::from(u32::from(c))))
    }

    /// The rest of a quoted item whose opening quote has been read.
    fn quoted(&mut self, quote: char, at: Position) -> Result<String, SyntaxError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                None => {
                    return Err(SyntaxError {
                        kind: Kind::UnterminatedQuoted,
                        at,
                    });
                }
                Some(c) if c == quote => {
                    if self.peek() != Some(quote) {
                        return Ok(text);
                    }
                    self.bump();
                    text.push(quote);
                }
                Some('\\') => text.extend(self.escape(at)?),
                Some(c) => text.push(c),
            }
        }
    }

    /// The character of an escape whose backslash has been read; none for a
    /// continued line.
    fn escape(&mut self, at: Position) -> Result<Option<char>, SyntaxError> {
        let bad = SyntaxError {
            kind: Kind::BadEscape,
            at,
        };
        Ok(Some(match self.bump().ok_or(bad)? {
            '\n' => return Ok(None),
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            c @ ('\\' | '\'' | '"' | '`') => c,
            'x' => self.numbered_escape(16).ok_or(bad)?,
            c if c.is_digit(8) => {
                // The digit just read belongs to the number.
                let first = c.to_digit(8).ok_or(bad)?;
                self.numbered_escape_from(8, first).ok_or(bad)?
            }
            _ => return Err(bad),
        }))
    }

    fn numbered_escape(&mut self, radix: u32) -> Option<char> {
        let first = self.bump()?.to_digit(radix)?;
        self.numbered_escape_from(radix, first)
    }

    /// Digits up to the closing backslash.
    fn numbered_escape_from(&mut self, radix: u32, first: u32) -> Option<char> {
        let mut code = first;
        loop {
            match self.bump()? {
                '\\' => return char::from_u32(code),
                c => code = code.checked_mul(radix)?.checked_add(c.to_digit(radix)?)?,
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.at.line = self.at.line.saturating_add(1);
            self.at.column = 1;
        } else {
            self.at.column = self.at.column.saturating_add(1);
        }
        Some(c)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        &start[..start.len() - self.rest.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn kinds(text: &str) -> Vec<TokenKind<'_>> {
        let mut lexer = Lexer::new(text);
        let mut all = Vec::new();
        loop {
            match lexer.next().unwrap().kind {
                TokenKind::End => return all,
                kind => all.push(kind),
            }
        }
    }

    fn error(text: &str) -> (Kind, u32, u32) {
        let mut lexer = Lexer::new(text);
        loop {
            match lexer.next() {
                Err(e) => return (e.kind, e.at.line, e.at.column),
                Ok(token) => assert_ne!(token.kind, TokenKind::End, "no error in {text:?}"),
            }
        }
    }

    #[test]
    fn numbers_in_all_bases() {
        use TokenKind::Integer as I;
        assert_eq!(
            kinds("0 42 0xfF00 0o17 0b101 0'a 0'\\n 0''' 9223372036854775808"),
            [
                I(0),
                I(42),
                I(0xff00),
                I(15),
                I(5),
                I(97),
                I(10),
                I(39),
                I(1 << 63)
            ]
        );
        assert_eq!(
            error("f(9223372036854775809)"),
            (Kind::IntegerTooLarge, 1, 3)
        );
        assert_eq!(
            error("a\n 0x8000000000000001"),
            (Kind::IntegerTooLarge, 2, 2)
        );
        assert_eq!(error("0x"), (Kind::BadNumber, 1, 1));
        assert_eq!(error("1.5"), (Kind::FloatUnsupported, 1, 1));
    }

    #[test]
    fn quoted_items_and_escapes() {
        assert_eq!(
            kinds(r#"'a''b\n\x41\\101\' "x\"y""#),
            [
                TokenKind::Name("a'b\nAA".into(), true),
                TokenKind::Text("x\"y".into())
            ]
        );
        assert_eq!(error("'abc"), (Kind::UnterminatedQuoted, 1, 1));
        assert_eq!(error(r"'\q'"), (Kind::BadEscape, 1, 1));
        assert_eq!(error(r"'\xd800\'"), (Kind::BadEscape, 1, 1));
    }

    #[test]
    fn full_stop_and_comments() {
        let n = |s: &'static str| TokenKind::Name(s.into(), false);
        assert_eq!(
            kinds("a. % x\n/* . */ b.%"),
            [n("a"), TokenKind::Stop, n("b"), TokenKind::Stop]
        );
        assert_eq!(kinds("a=..b"), [n("a"), n("=.."), n("b")]);
        assert_eq!(error(" /* never"), (Kind::UnterminatedComment, 1, 2));
        assert_eq!(error("a ` b"), (Kind::BadCharacter, 1, 3));
    }
}
