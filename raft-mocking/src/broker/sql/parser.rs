//! From tokens to conditions and statements, by recursive descent.

use super::lexer::{self, Spanned, Token};
use super::{SqlError, SqlProblem, TEXT_LENGTH_MAX};

/// Brackets, signs and negations within each other.
const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Predicate {
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Compare(Expression, Comparison, Expression),
    IsNull(Property),
    In(Expression, Vec<Expression>),
    Like {
        value: Expression,
        pattern: Expression,
        escape: Option<Expression>,
    },
    Exists(Property),
    /// An expression that is a truth value itself.
    Is(Expression),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Property(Property),
    NewId,
    Negative(Box<Self>),
    Arithmetic(Box<Self>, Arithmetic, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Property {
    System(System),
    User(String),
}

/// The properties of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    ContentType,
    CorrelationId,
    Label,
    MessageId,
    ReplyTo,
    ReplyToSessionId,
    SessionId,
    To,
    TimeToLive,
    Size,
}

const SYSTEM: [(&str, System); 11] = [
    ("ContentType", System::ContentType),
    ("CorrelationId", System::CorrelationId),
    ("Label", System::Label),
    ("Subject", System::Label),
    ("MessageId", System::MessageId),
    ("ReplyTo", System::ReplyTo),
    ("ReplyToSessionId", System::ReplyToSessionId),
    ("SessionId", System::SessionId),
    ("To", System::To),
    ("TimeToLive", System::TimeToLive),
    ("Size", System::Size),
];

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Set(Property, Expression),
    Remove(Property),
}

pub(super) fn predicate(text: &str) -> Result<Predicate, SqlError> {
    let mut parser = Parser::new(text)?;
    let predicate = parser.disjunction(0)?;
    parser.expect_end()?;
    Ok(predicate)
}

pub(super) fn statements(text: &str) -> Result<Vec<Statement>, SqlError> {
    let mut parser = Parser::new(text)?;
    let mut statements = Vec::new();
    loop {
        while parser.takes_symbol(";") {}
        if *parser.token() == Token::End {
            break;
        }
        statements.push(parser.statement()?);
        if *parser.token() != Token::End {
            parser.expect_symbol(";", "';' between statements")?;
        }
    }
    if statements.is_empty() {
        return Err(parser.error(SqlProblem::Expected("SET or REMOVE")));
    }
    Ok(statements)
}

struct Parser {
    tokens: Vec<Spanned>,
    next: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, SqlError> {
        if text.chars().count() > TEXT_LENGTH_MAX {
            return Err(SqlError { place: TEXT_LENGTH_MAX, problem: SqlProblem::TooLong });
        }
        Ok(Self { tokens: lexer::tokens(text)?, next: 0 })
    }

    fn token(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn error(&self, problem: SqlProblem) -> SqlError {
        let place = self.tokens.get(self.next).map_or(0, |spanned| spanned.place);
        SqlError { place, problem }
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, SqlError> {
        Err(self.error(SqlProblem::Expected(what)))
    }

    fn check_depth(&self, depth: usize) -> Result<(), SqlError> {
        if depth > DEPTH_MAX { Err(self.error(SqlProblem::TooDeep)) } else { Ok(()) }
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.token(), Token::Word(word, false) if word.eq_ignore_ascii_case(keyword))
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let is_it = self.is_keyword(keyword);
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.token(), Token::Symbol(found) if *found == symbol);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect_symbol(&mut self, symbol: &str, what: &'static str) -> Result<(), SqlError> {
        if self.takes_symbol(symbol) { Ok(()) } else { self.expected(what) }
    }

    fn expect_end(&self) -> Result<(), SqlError> {
        if *self.token() == Token::End { Ok(()) } else { self.expected("the end") }
    }

    // --- conditions ---

    fn disjunction(&mut self, depth: usize) -> Result<Predicate, SqlError> {
        self.check_depth(depth)?;
        let mut left = self.conjunction(depth)?;
        while self.takes_keyword("OR") {
            let right = self.conjunction(depth)?;
            left = Predicate::Or(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn conjunction(&mut self, depth: usize) -> Result<Predicate, SqlError> {
        let mut left = self.negation(depth)?;
        while self.takes_keyword("AND") {
            let right = self.negation(depth)?;
            left = Predicate::And(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn negation(&mut self, depth: usize) -> Result<Predicate, SqlError> {
        self.check_depth(depth)?;
        if self.takes_keyword("NOT") {
            return Ok(Predicate::Not(Box::new(self.negation(depth + 1)?)));
        }
        if self.takes_keyword("EXISTS") {
            self.expect_symbol("(", "'(' after EXISTS")?;
            let property = self.property()?;
            self.expect_symbol(")", "')'")?;
            return Ok(Predicate::Exists(property));
        }
        // A bracket may open a condition or an expression: the first that fits.
        let start = self.next;
        if self.takes_symbol("(") {
            let inner = self.disjunction(depth + 1);
            if inner.is_ok() && self.takes_symbol(")") && !self.continues_expression() {
                return inner;
            }
            if let Err(error @ SqlError { problem: SqlProblem::TooDeep, .. }) = inner {
                return Err(error);
            }
            self.next = start;
        }
        self.comparison(depth)
    }

    /// Whether what follows a closing bracket makes the brackets part of an expression.
    fn continues_expression(&self) -> bool {
        match self.token() {
            Token::Symbol(symbol) => !matches!(*symbol, ")" | ";"),
            Token::Word(..) => ["IS", "IN", "LIKE", "NOT"].iter().any(|word| self.is_keyword(word)),
            _ => false,
        }
    }

    fn comparison(&mut self, depth: usize) -> Result<Predicate, SqlError> {
        let left = self.sum(depth)?;
        let comparison = match self.token() {
            Token::Symbol("=") => Some(Comparison::Equal),
            Token::Symbol("<>" | "!=") => Some(Comparison::NotEqual),
            Token::Symbol(">") => Some(Comparison::Greater),
            Token::Symbol(">=") => Some(Comparison::GreaterOrEqual),
            Token::Symbol("<") => Some(Comparison::Less),
            Token::Symbol("<=") => Some(Comparison::LessOrEqual),
            _ => None,
        };
        if let Some(comparison) = comparison {
            self.next += 1;
            return Ok(Predicate::Compare(left, comparison, self.sum(depth)?));
        }
        if self.takes_keyword("IS") {
            let is_negated = self.takes_keyword("NOT");
            if !self.takes_keyword("NULL") {
                return self.expected("NULL");
            }
            let Expression::Property(property) = left else {
                return self.expected("a property before IS");
            };
            return Ok(negated(Predicate::IsNull(property), is_negated));
        }
        let is_negated = self.takes_keyword("NOT");
        if self.takes_keyword("IN") {
            return Ok(negated(Predicate::In(left, self.list(depth)?), is_negated));
        }
        if self.takes_keyword("LIKE") {
            let pattern = self.sum(depth)?;
            let escape = if self.takes_keyword("ESCAPE") { Some(self.sum(depth)?) } else { None };
            return Ok(negated(Predicate::Like { value: left, pattern, escape }, is_negated));
        }
        if is_negated {
            return self.expected("IN or LIKE after NOT");
        }
        Ok(Predicate::Is(left))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Expression>, SqlError> {
        self.expect_symbol("(", "'(' after IN")?;
        let mut items = vec![self.sum(depth)?];
        while self.takes_symbol(",") {
            items.push(self.sum(depth)?);
        }
        self.expect_symbol(")", "')'")?;
        Ok(items)
    }

    // --- expressions ---

    fn sum(&mut self, depth: usize) -> Result<Expression, SqlError> {
        self.check_depth(depth)?;
        let mut left = self.product(depth)?;
        loop {
            let operator = match self.token() {
                Token::Symbol("+") => Arithmetic::Add,
                Token::Symbol("-") => Arithmetic::Subtract,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.product(depth)?;
            left = Expression::Arithmetic(Box::new(left), operator, Box::new(right));
        }
    }

    fn product(&mut self, depth: usize) -> Result<Expression, SqlError> {
        let mut left = self.factor(depth)?;
        loop {
            let operator = match self.token() {
                Token::Symbol("*") => Arithmetic::Multiply,
                Token::Symbol("/") => Arithmetic::Divide,
                Token::Symbol("%") => Arithmetic::Remainder,
                _ => return Ok(left),
            };
            self.next += 1;
            let right = self.factor(depth)?;
            left = Expression::Arithmetic(Box::new(left), operator, Box::new(right));
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, SqlError> {
        self.check_depth(depth)?;
        if self.takes_symbol("-") {
            return Ok(Expression::Negative(Box::new(self.factor(depth + 1)?)));
        }
        if self.takes_symbol("+") {
            return self.factor(depth + 1);
        }
        if self.takes_symbol("(") {
            let inner = self.sum(depth + 1)?;
            self.expect_symbol(")", "')'")?;
            return Ok(inner);
        }
        let constant = match self.token() {
            Token::Text(text) => Some(Expression::Text(text.clone())),
            Token::Int(value) => Some(Expression::Int(*value)),
            Token::Double(value) => Some(Expression::Double(*value)),
            Token::Word(word, false) if word.eq_ignore_ascii_case("TRUE") => {
                Some(Expression::Bool(true))
            }
            Token::Word(word, false) if word.eq_ignore_ascii_case("FALSE") => {
                Some(Expression::Bool(false))
            }
            Token::Word(word, false) if word.eq_ignore_ascii_case("NULL") => Some(Expression::Null),
            _ => None,
        };
        if let Some(constant) = constant {
            self.next += 1;
            return Ok(constant);
        }
        self.function_or_property()
    }

    fn function_or_property(&mut self) -> Result<Expression, SqlError> {
        let is_call = matches!(
            self.tokens.get(self.next + 1).map(|spanned| &spanned.token),
            Some(Token::Symbol("("))
        );
        if is_call && self.takes_keyword("newid") {
            self.expect_symbol("(", "'('")?;
            self.expect_symbol(")", "')' after newid(")?;
            return Ok(Expression::NewId);
        }
        if is_call && (self.takes_keyword("property") || self.takes_keyword("p")) {
            self.expect_symbol("(", "'('")?;
            let Token::Text(name) = self.token().clone() else {
                return self.expected("the name of a property, as text");
            };
            self.next += 1;
            self.expect_symbol(")", "')'")?;
            return Ok(Expression::Property(Property::User(name)));
        }
        self.property().map(Expression::Property)
    }

    fn property(&mut self) -> Result<Property, SqlError> {
        const RESERVED: [&str; 10] =
            ["AND", "OR", "NOT", "IN", "IS", "LIKE", "ESCAPE", "EXISTS", "SET", "REMOVE"];
        let is_reserved = RESERVED.iter().any(|word| self.is_keyword(word));
        let Token::Word(name, is_quoted) = self.token().clone() else {
            return self.expected("a value or a property");
        };
        if is_reserved {
            return self.expected("a value or a property");
        }
        self.next += 1;
        let is_scope = |scope: &str| !is_quoted && name.eq_ignore_ascii_case(scope);
        let (is_system, is_user) = (is_scope("sys"), is_scope("user"));
        if !(is_system || is_user) || !self.takes_symbol(".") {
            return Ok(Property::User(name));
        }
        let Token::Word(name, _) = self.token().clone() else {
            return self.expected("the name of a property");
        };
        if is_user {
            self.next += 1;
            return Ok(Property::User(name));
        }
        let found = SYSTEM.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let (_, system) = found.ok_or_else(|| self.error(SqlProblem::SystemProperty(name)))?;
        self.next += 1;
        Ok(Property::System(system))
    }

    // --- actions ---

    fn statement(&mut self) -> Result<Statement, SqlError> {
        if self.takes_keyword("SET") {
            let property = self.writable_property()?;
            self.expect_symbol("=", "'=' after the property")?;
            return Ok(Statement::Set(property, self.sum(0)?));
        }
        if self.takes_keyword("REMOVE") {
            return self.writable_property().map(Statement::Remove);
        }
        self.expected("SET or REMOVE")
    }

    fn writable_property(&mut self) -> Result<Property, SqlError> {
        let place = self.next;
        let property = self.property()?;
        if let Property::System(system @ (System::TimeToLive | System::Size)) = property {
            self.next = place;
            return Err(self.error(SqlProblem::ReadOnly(format!("{system:?}"))));
        }
        Ok(property)
    }
}

fn negated(predicate: Predicate, is_negated: bool) -> Predicate {
    if is_negated { Predicate::Not(Box::new(predicate)) } else { predicate }
}
