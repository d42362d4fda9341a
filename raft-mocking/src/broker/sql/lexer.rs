//! From text to tokens.

use super::{SqlError, SqlProblem};

/// A token, and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) place: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword; `true` if it was quoted, which makes it a name.
    Word(String, bool),
    Text(String),
    Int(i64),
    Double(f64),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 18] =
    ["<>", "!=", ">=", "<=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", ".", ";", "@"];

pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, SqlError> {
    let characters: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { characters: &characters, place: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let place = lexer.place;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push(Spanned { token, place });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    characters: &'a [char],
    place: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.place + ahead).copied()
    }

    fn skip_space(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.place += 1;
        }
    }

    fn error(&self, problem: SqlProblem) -> SqlError {
        SqlError { place: self.place, problem }
    }

    fn token(&mut self) -> Result<Token, SqlError> {
        let Some(first) = self.peek(0) else { return Ok(Token::End) };
        match first {
            '\'' => self.quoted('\'').map(Token::Text),
            '"' => self.quoted('"').map(|name| Token::Word(name, true)),
            '[' => self.quoted(']').map(|name| Token::Word(name, true)),
            _ if first.is_ascii_digit() => self.number(),
            '.' if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            _ if first.is_alphabetic() || matches!(first, '_' | '$' | '#') => Ok(self.word()),
            _ => self.symbol(first),
        }
    }

    /// A quotation, in which the closing character is written twice.
    fn quoted(&mut self, close: char) -> Result<String, SqlError> {
        let mut text = String::new();
        let mut end = self.place + 1;
        loop {
            match (self.characters.get(end), self.characters.get(end + 1)) {
                (Some(&c), Some(&next)) if c == close && next == close => {
                    text.push(close);
                    end += 2;
                }
                (Some(&c), _) if c == close => break,
                (Some(&c), _) => {
                    text.push(c);
                    end += 1;
                }
                (None, _) => return Err(self.error(SqlProblem::Unclosed)),
            }
        }
        self.place = end + 1;
        Ok(text)
    }

    fn word(&mut self) -> Token {
        let start = self.place;
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '-');
        // A dash belongs to a name only between its characters: `a-b` is a difference in SQL, and so it is
        // in the service.
        while self.peek(0).is_some_and(|c| is_part(c) && c != '-') {
            self.place += 1;
        }
        Token::Word(self.characters[start..self.place].iter().collect(), false)
    }

    fn number(&mut self) -> Result<Token, SqlError> {
        let start = self.place;
        let mut is_whole = true;
        while let Some(c) = self.peek(0) {
            let is_sign = matches!(c, '+' | '-')
                && self.place > start
                && matches!(self.characters[self.place - 1], 'e' | 'E');
            let is_exponent = matches!(c, 'e' | 'E') && self.place > start;
            if !(c.is_ascii_digit() || c == '.' || is_sign || is_exponent) {
                break;
            }
            is_whole &= c.is_ascii_digit();
            self.place += 1;
        }
        let text: String = self.characters[start..self.place].iter().collect();
        let wrong = |_| SqlError { place: start, problem: SqlProblem::Number };
        if is_whole {
            text.parse().map(Token::Int).map_err(|_| wrong(()))
        } else {
            text.parse().map(Token::Double).map_err(|_| wrong(()))
        }
    }

    fn symbol(&mut self, first: char) -> Result<Token, SqlError> {
        let next = self.peek(1);
        let is_here = |symbol: &str| {
            let mut parts = symbol.chars();
            parts.next() == Some(first) && parts.next().is_none_or(|second| Some(second) == next)
        };
        let found = SYMBOLS.into_iter().find(|symbol| is_here(symbol));
        let symbol = found.ok_or_else(|| self.error(SqlProblem::Character(first)))?;
        self.place += symbol.len();
        Ok(Token::Symbol(symbol))
    }
}
