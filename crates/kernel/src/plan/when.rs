//! `when`: a condition over results, read when the plan is checked and decided without running anything.
//!
//! ```text
//! or    = and ("or" and)*            compare = value (("==" | "!=" | "<" | "<=" | ">" | ">=" | "contains") value)?
//! and   = not ("and" not)*           value   = {{a.output.b}} | {{item.f}} | 'text' | "text" | 12.5 | true | false | null
//! not   = "not" not | "(" or ")" | compare
//! ```
//! It cannot fail once read: a missing value is null, values of different kinds are unequal and not ordered.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::shown;
use super::reference::Reference;

/// Longest condition.
const MAX_BYTES: usize = 4096;
/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;

/// A readable condition, kept as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct When(Box<Read>);

/// Boxed: few subtasks have a condition, and every subtask would carry its size.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    text: String,
    expr: Expr,
}

/// Why a condition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Over 4,096 bytes.
    #[error("it has {0} bytes; the limit is {MAX_BYTES}")]
    TooLong(usize),
    /// Over 32 levels.
    #[error("it is nested deeper than {MAX_DEPTH} levels; use fewer parentheses")]
    TooDeep,
    /// A quote without its end.
    #[error("the text that starts at character {0} has no closing quote; add it")]
    OpenText(usize),
    /// Braces around something else.
    #[error("{0} is no reference; write {{{{id.output.field}}}} or {{{{item.field}}}}")]
    BadReference(String),
    /// A word or sign that is not of the grammar.
    #[error("{0} is not known; use ==, !=, <, <=, >, >=, contains, and, or, not and quoted text")]
    Unknown(String),
    /// Something else should stand here.
    #[error("expected {expected} but found {found}")]
    Expected {
        /// What may stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Is(Operand),
    Compare(Operand, Operator, Operand),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Value(Value),
    Reference(Reference),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    Contains,
}

impl When {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`WhenError`], which says where and what instead.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        if text.len() > MAX_BYTES {
            return Err(WhenError::TooLong(text.len()));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let expr = parser.any(0)?;
        match parser.next() {
            None => Ok(Self(Box::new(Read { text: text.to_owned(), expr }))),
            Some(token) => Err(WhenError::Expected { expected: "`and`, `or` or the end", found: token.shown() }),
        }
    }

    /// The condition as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// What it reads, in order of appearance.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.0.expr.collect(&mut found);
        found
    }

    /// Decides it; `read` gives the value that a reference stands for (`None` = missing = null).
    pub fn holds<'a>(&self, read: &impl Fn(&Reference) -> Option<&'a Value>) -> bool {
        self.0.expr.holds(read)
    }
}

impl TryFrom<String> for When {
    type Error = WhenError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.0.text
    }
}

impl Expr {
    fn collect<'e>(&'e self, found: &mut Vec<&'e Reference>) {
        let mut operand = |o: &'e Operand| {
            if let Operand::Reference(reference) = o {
                found.push(reference);
            }
        };
        match self {
            Self::All(list) | Self::Any(list) => list.iter().for_each(|e| e.collect(found)),
            Self::Not(inner) => inner.collect(found),
            Self::Is(a) => operand(a),
            Self::Compare(a, _, b) => {
                operand(a);
                operand(b);
            }
        }
    }

    fn holds<'a>(&self, read: &impl Fn(&Reference) -> Option<&'a Value>) -> bool {
        match self {
            Self::All(list) => list.iter().all(|e| e.holds(read)),
            Self::Any(list) => list.iter().any(|e| e.holds(read)),
            Self::Not(inner) => !inner.holds(read),
            Self::Is(a) => is_true(a.value(read)),
            Self::Compare(a, operator, b) => operator.holds(a.value(read), b.value(read)),
        }
    }
}

impl Operand {
    fn value<'v, 'a: 'v>(&'v self, read: &impl Fn(&Reference) -> Option<&'a Value>) -> &'v Value {
        match self {
            Self::Value(value) => value,
            Self::Reference(reference) => read(reference).unwrap_or(&Value::Null),
        }
    }
}

/// A value alone as a condition: false for false, null, zero and everything empty, and for the text "false".
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty() && !s.eq_ignore_ascii_case("false"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

impl Operator {
    fn holds(self, a: &Value, b: &Value) -> bool {
        match self {
            Self::Equal => equal(a, b),
            Self::NotEqual => !equal(a, b),
            Self::Less => compare(a, b).is_some_and(Ordering::is_lt),
            Self::AtMost => compare(a, b).is_some_and(Ordering::is_le),
            Self::More => compare(a, b).is_some_and(Ordering::is_gt),
            Self::AtLeast => compare(a, b).is_some_and(Ordering::is_ge),
            Self::Contains => match (a, b) {
                (Value::String(a), Value::String(b)) => a.contains(b.as_str()),
                (Value::String(a), Value::Number(b)) => a.contains(&b.to_string()),
                (Value::Array(list), b) => list.iter().any(|a| equal(a, b)),
                (Value::Object(map), Value::String(key)) => map.contains_key(key),
                _ => false,
            },
        }
    }
}

/// A number, also one written as text: CSV rows and small models give no others.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), _) | (_, Value::Number(_)) => number(a).is_some() && number(a) == number(b),
        (Value::Bool(x), Value::String(s)) | (Value::String(s), Value::Bool(x)) => s == if *x { "true" } else { "false" },
        _ => a == b,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (number(a), number(b), a, b) {
        (Some(x), Some(y), ..) => x.partial_cmp(&y),
        (_, _, Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Operator(Operator),
    Operand(Operand),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Open => "`(`".to_owned(),
            Self::Close => "`)`".to_owned(),
            Self::And => "`and`".to_owned(),
            Self::Or => "`or`".to_owned(),
            Self::Not => "`not`".to_owned(),
            Self::Operator(_) => "a comparison".to_owned(),
            Self::Operand(Operand::Value(value)) => shown(&value.to_string()),
            Self::Operand(Operand::Reference(_)) => "a reference".to_owned(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, WhenError> {
    const SIGNS: [(&str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::More),
    ];
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if let Some(inner) = rest.strip_prefix("{{") {
            let end = inner.find("}}").ok_or_else(|| WhenError::BadReference(shown(rest)))?;
            let reference = Reference::parse(&inner[..end]).ok_or_else(|| WhenError::BadReference(shown(&rest[..end + 4])))?;
            (Token::Operand(Operand::Reference(reference)), end + 4)
        } else if let Some((sign, operator)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            (Token::Operator(*operator), sign.len())
        } else {
            match first {
                '(' => (Token::Open, 1),
                ')' => (Token::Close, 1),
                '\'' | '"' => {
                    let at = text.len() - rest.len();
                    let (value, length) = quoted(rest, first).ok_or_else(|| WhenError::OpenText(text[..at].chars().count() + 1))?;
                    (Token::Operand(Operand::Value(Value::String(value))), length)
                }
                _ => {
                    let ends = |c: char| c.is_whitespace() || "()'\"=!<>{}".contains(c);
                    let length = rest.find(ends).unwrap_or(rest.len()).max(first.len_utf8());
                    (word(&rest[..length])?, length)
                }
            }
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

/// Text in quotes with `\` before a quote or another `\`, and the bytes it takes.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            if c != quote && c != '\\' {
                value.push('\\');
            }
            value.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some((value, at + 1));
        } else {
            value.push(c);
        }
    }
    None
}

fn word(word: &str) -> Result<Token, WhenError> {
    let value = |v| Token::Operand(Operand::Value(v));
    Ok(match word {
        "and" => Token::And,
        "or" => Token::Or,
        "not" => Token::Not,
        "contains" => Token::Operator(Operator::Contains),
        "true" => value(Value::Bool(true)),
        "false" => value(Value::Bool(false)),
        "null" => value(Value::Null),
        _ => match serde_json::from_str::<serde_json::Number>(word) {
            Ok(number) => value(Value::Number(number)),
            Err(_) => return Err(WhenError::Unknown(shown(word))),
        },
    })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let there = self.tokens.get(self.at) == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<Expr, WhenError> {
        let mut list = vec![self.all(depth)?];
        while self.take(&Token::Or) {
            list.push(self.all(depth)?);
        }
        Ok(if list.len() == 1 { list.swap_remove(0) } else { Expr::Any(list) })
    }

    fn all(&mut self, depth: usize) -> Result<Expr, WhenError> {
        let mut list = vec![self.one(depth)?];
        while self.take(&Token::And) {
            list.push(self.one(depth)?);
        }
        Ok(if list.len() == 1 { list.swap_remove(0) } else { Expr::All(list) })
    }

    fn one(&mut self, depth: usize) -> Result<Expr, WhenError> {
        if depth > MAX_DEPTH {
            return Err(WhenError::TooDeep);
        }
        if self.take(&Token::Not) {
            return Ok(Expr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let inner = self.any(depth + 1)?;
            if self.take(&Token::Close) {
                return Ok(inner);
            }
            return Err(self.expected("`)`"));
        }
        let left = self.operand()?;
        if let Some(Token::Operator(operator)) = self.tokens.get(self.at) {
            let operator = *operator;
            self.at += 1;
            return Ok(Expr::Compare(left, operator, self.operand()?));
        }
        Ok(Expr::Is(left))
    }

    fn operand(&mut self) -> Result<Operand, WhenError> {
        if let Some(Token::Operand(operand)) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(operand.clone());
        }
        Err(self.expected("a reference, text or number"))
    }

    fn expected(&self, expected: &'static str) -> WhenError {
        let found = self.tokens.get(self.at).map_or("the end".to_owned(), Token::shown);
        WhenError::Expected { expected, found }
    }
}
