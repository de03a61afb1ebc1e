//! From text to terms: an operator-precedence parser with explicit stacks.
//!
//! Neither brackets nor operators recurse on the host's stack, so the nesting
//! of a text is bounded by memory only. Grammar: ISO/IEC 13211-1, 6.3, without
//! floats, block operators and `op/3`; strings in double quotes are a type of
//! their own; lists are `'.'/2` and `[]`.
//!
//! One [`Context`] stands for each open bracket. Within a context, operands and
//! operators wait on two stacks: an infix operator first completes the operators
//! to its left that may be part of its left operand, as their priorities tell.
//! The parser is one state machine and stays in one file, past the usual length.

mod arena;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Position, SyntaxError, SyntaxErrorKind as Kind};
use crate::lexer::{Lexer, Token, TokenKind};
use crate::operators::{self, ARGUMENT, Operator, TERM};
use crate::term::{Name, Node, Term};

use arena::Arena;

/// A term as read, with the names of its variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadTerm {
    /// The term.
    pub term: Term,
    /// The named variables in order of first occurrence with their numbers in
    /// the term; `_` has no name and each is a variable of its own.
    pub variables: Vec<(Name, u32)>,
    /// Where the term begins.
    pub at: Position,
}

/// Reads one term that makes up the whole text; the full stop may be left out.
///
/// # Errors
/// The first thing in the text that is no term, with its position.
pub fn read_term(text: &str) -> Result<ReadTerm, SyntaxError> {
    let mut reader = Reader::new(text);
    let at = reader.lexer.position();
    let read = reader.read(true)?.ok_or(SyntaxError {
        kind: Kind::UnexpectedEnd,
        at,
    })?;
    let rest = reader.take()?;
    if rest.kind == TokenKind::End {
        Ok(read)
    } else {
        Err(unexpected(&rest))
    }
}

/// Reads the clauses of a text one after the other, each ended by a full stop.
pub struct Reader<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token<'a>>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self {
            lexer: Lexer::new(text),
            ahead: None,
        }
    }

    /// The next clause; none at the end of the text.
    ///
    /// # Errors
    /// What is wrong in that clause, with its position. Reading can't go on.
    pub fn next_clause(&mut self) -> Result<Option<ReadTerm>, SyntaxError> {
        self.read(false)
    }

    fn read(&mut self, end_stops: bool) -> Result<Option<ReadTerm>, SyntaxError> {
        let at = match self.peek()? {
            Token {
                kind: TokenKind::End,
                ..
            } => return Ok(None),
            token => token.at,
        };
        let parser = Parser {
            reader: self,
            end_stops,
            arena: Arena::default(),
            contexts: Vec::new(),
            operands: Vec::new(),
            operators: Vec::new(),
            items: Vec::new(),
        };
        let (arena, root) = parser.run()?;
        Ok(Some(ReadTerm {
            term: arena.flatten(root),
            variables: arena.into_variables(),
            at,
        }))
    }

    fn take(&mut self) -> Result<Token<'a>, SyntaxError> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<&Token<'a>, SyntaxError> {
        let token = self.take()?;
        Ok(self.ahead.insert(token))
    }
}

/// An open bracket, or the whole term.
struct Context {
    kind: ContextKind,
    /// Heights of the stacks when it was opened.
    operands: usize,
    operators: usize,
    items: usize,
}

enum ContextKind {
    Whole,
    Parentheses,
    Curly,
    /// Arguments of the functor.
    Arguments(Name),
    /// A list, and whether its bar has been read.
    List(bool),
}

struct Operand {
    draft: usize,
    priority: u16,
}

struct PendingOperator {
    name: Name,
    operator: Operator,
    at: Position,
}

struct Parser<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// The end of the text may stand for the full stop.
    end_stops: bool,
    arena: Arena,
    contexts: Vec<Context>,
    operands: Vec<Operand>,
    operators: Vec<PendingOperator>,
    /// Finished arguments and list elements of the open contexts.
    items: Vec<usize>,
}

fn unexpected(token: &Token<'_>) -> SyntaxError {
    let kind = match token.kind {
        TokenKind::End => Kind::UnexpectedEnd,
        _ => Kind::UnexpectedToken,
    };
    SyntaxError { kind, at: token.at }
}

impl Parser<'_, '_> {
    fn run(mut self) -> Result<(Arena, usize), SyntaxError> {
        self.open(ContextKind::Whole);
        let mut want_operand = true;
        loop {
            let token = self.reader.take()?;
            if want_operand {
                want_operand = self.operand(token)?;
            } else {
                let at = token.at;
                match self.after_operand(token)? {
                    After::Operand => {}
                    After::WantOperand => want_operand = true,
                    After::Finished => {
                        let root = self.operands.pop();
                        let root = root.ok_or(SyntaxError {
                            kind: Kind::UnexpectedEnd,
                            at,
                        })?;
                        return Ok((self.arena, root.draft));
                    }
                }
            }
        }
    }

    /// Takes a token where an operand must begin; says whether one must still.
    fn operand(&mut self, token: Token<'_>) -> Result<bool, SyntaxError> {
        let at = token.at;
        match token.kind {
            TokenKind::Integer(magnitude) => {
                let value = i64::try_from(magnitude).map_err(|_| SyntaxError {
                    kind: Kind::IntegerTooLarge,
                    at,
                })?;
                self.push_leaf(Node::Int(value), 0);
            }
            TokenKind::Variable(name) => {
                let draft = self.arena.variable(name);
                self.operands.push(Operand { draft, priority: 0 });
            }
            TokenKind::Text(text) => self.push_leaf(Node::Str(Arc::from(text)), 0),
            TokenKind::Name(name, quoted) => return self.name(&name, quoted, at),
            TokenKind::Open => {
                self.open(ContextKind::Parentheses);
                return Ok(true);
            }
            TokenKind::OpenList => {
                if self.reader.peek()?.kind != TokenKind::CloseList {
                    self.open(ContextKind::List(false));
                    return Ok(true);
                }
                self.reader.take()?;
                return self.name("[]", true, at);
            }
            TokenKind::OpenCurly => {
                if self.reader.peek()?.kind != TokenKind::CloseCurly {
                    self.open(ContextKind::Curly);
                    return Ok(true);
                }
                self.reader.take()?;
                return self.name("{}", true, at);
            }
            _ => return Err(unexpected(&token)),
        }
        Ok(false)
    }

    /// A name where an operand must begin: a functor, a negative number, a
    /// prefix operator or an atom.
    fn name(&mut self, name: &str, quoted: bool, at: Position) -> Result<bool, SyntaxError> {
        let next = self.reader.peek()?.clone();
        if next.kind == TokenKind::Open && !next.layout_before {
            self.reader.take()?;
            if self.reader.peek()?.kind == TokenKind::Close {
                return Err(SyntaxError {
                    kind: Kind::EmptyArguments,
                    at,
                });
            }
            self.open(ContextKind::Arguments(Arc::from(name)));
            return Ok(true);
        }
        if let TokenKind::Integer(magnitude) = next.kind
            && name == "-"
            && !quoted
            && !next.layout_before
        {
            self.reader.take()?;
            let value = 0i64.checked_sub_unsigned(magnitude).ok_or(SyntaxError {
                kind: Kind::IntegerTooLarge,
                at,
            })?;
            self.push_leaf(Node::Int(value), 0);
            return Ok(false);
        }
        if let Some(operator) = operators::prefix(name)
            && begins_operand(&next)
        {
            self.operators.push(PendingOperator {
                name: Arc::from(name),
                operator,
                at,
            });
            return Ok(true);
        }
        // A bare operator as operand counts as bracketed: stricter systems want
        // the brackets, and the writer sets them.
        self.push_leaf(Node::Atom(Arc::from(name)), 0);
        Ok(false)
    }

    fn after_operand(&mut self, token: Token<'_>) -> Result<After, SyntaxError> {
        let at = token.at;
        let separates = match self.contexts.last().map(|context| &context.kind) {
            Some(ContextKind::Arguments(_)) => token.kind == TokenKind::Comma,
            Some(ContextKind::List(false)) => {
                matches!(token.kind, TokenKind::Comma | TokenKind::Bar)
            }
            _ => false,
        };
        match token.kind {
            TokenKind::Comma | TokenKind::Bar if separates => {
                self.finish_item(at)?;
                if token.kind == TokenKind::Bar
                    && let Some(context) = self.contexts.last_mut()
                {
                    context.kind = ContextKind::List(true);
                }
                Ok(After::WantOperand)
            }
            TokenKind::Comma => self.infix(",", at),
            TokenKind::Name(name, _) => self.infix(&name, at),
            TokenKind::Close | TokenKind::CloseList | TokenKind::CloseCurly => {
                self.close(&token)?;
                Ok(After::Operand)
            }
            TokenKind::End if !self.end_stops => Err(unexpected(&token)),
            TokenKind::Stop | TokenKind::End => {
                if self.contexts.len() > 1 {
                    return Err(unexpected(&token));
                }
                self.finish_expression(TERM, at)?;
                Ok(After::Finished)
            }
            TokenKind::Bar => Err(unexpected(&token)),
            _ => Err(SyntaxError {
                kind: Kind::OperatorExpected,
                at,
            }),
        }
    }

    fn infix(&mut self, name: &str, at: Position) -> Result<After, SyntaxError> {
        let expected = SyntaxError {
            kind: Kind::OperatorExpected,
            at,
        };
        let operator = operators::infix(name).ok_or(expected)?;
        let base = self.contexts.last().map_or(0, |context| context.operators);
        while self.operators.len() > base
            && let Some(top) = self.operators.last()
        {
            if top.operator.priority <= operator.left {
                self.reduce(at)?;
            } else if operator.priority <= top.operator.right {
                break;
            } else {
                return Err(SyntaxError {
                    kind: Kind::PriorityClash,
                    at,
                });
            }
        }
        if self
            .operands
            .last()
            .is_none_or(|operand| operand.priority > operator.left)
        {
            return Err(SyntaxError {
                kind: Kind::PriorityClash,
                at,
            });
        }
        self.operators.push(PendingOperator {
            name: Arc::from(name),
            operator,
            at,
        });
        Ok(After::WantOperand)
    }

    /// Completes the topmost operator with the operands on the stack.
    fn reduce(&mut self, at: Position) -> Result<(), SyntaxError> {
        let missing = SyntaxError {
            kind: Kind::UnexpectedToken,
            at,
        };
        let PendingOperator { name, operator, at } = self.operators.pop().ok_or(missing)?;
        let right = self.operands.pop().ok_or(missing)?;
        if right.priority > operator.right {
            return Err(SyntaxError {
                kind: Kind::PriorityClash,
                at,
            });
        }
        let draft = if operator.left == 0 {
            self.arena.compound(name, &[right.draft])
        } else {
            let left = self.operands.pop().ok_or(missing)?;
            self.arena.compound(name, &[left.draft, right.draft])
        };
        let draft = draft.map_err(|kind| SyntaxError { kind, at })?;
        self.operands.push(Operand {
            draft,
            priority: operator.priority,
        });
        Ok(())
    }

    /// Completes all operators of the innermost context.
    fn finish_expression(&mut self, most: u16, at: Position) -> Result<(), SyntaxError> {
        let base = self.contexts.last().map_or(0, |context| context.operators);
        while self.operators.len() > base {
            self.reduce(at)?;
        }
        match self.operands.last() {
            Some(operand) if operand.priority <= most => Ok(()),
            _ => Err(SyntaxError {
                kind: Kind::PriorityClash,
                at,
            }),
        }
    }

    /// Completes an argument or a list element.
    fn finish_item(&mut self, at: Position) -> Result<(), SyntaxError> {
        self.finish_expression(ARGUMENT, at)?;
        self.items
            .extend(self.operands.pop().map(|operand| operand.draft));
        Ok(())
    }

    fn open(&mut self, kind: ContextKind) {
        self.contexts.push(Context {
            kind,
            operands: self.operands.len(),
            operators: self.operators.len(),
            items: self.items.len(),
        });
    }

    /// Closes the innermost bracket and leaves its term as an operand.
    fn close(&mut self, token: &Token<'_>) -> Result<(), SyntaxError> {
        let at = token.at;
        let too_large = |kind| SyntaxError { kind, at };
        let fits = match self.contexts.last().map(|context| &context.kind) {
            Some(ContextKind::Parentheses | ContextKind::Arguments(_)) => TokenKind::Close,
            Some(ContextKind::List(_)) => TokenKind::CloseList,
            Some(ContextKind::Curly) => TokenKind::CloseCurly,
            Some(ContextKind::Whole) | None => return Err(unexpected(token)),
        };
        if token.kind != fits {
            return Err(unexpected(token));
        }
        let bracketed = matches!(fits, TokenKind::CloseCurly)
            || matches!(
                self.contexts.last(),
                Some(Context {
                    kind: ContextKind::Parentheses,
                    ..
                })
            );
        if bracketed {
            self.finish_expression(TERM, at)?;
        } else {
            self.finish_item(at)?;
        }
        let Some(context) = self.contexts.pop() else {
            return Err(unexpected(token));
        };
        let draft = match context.kind {
            ContextKind::Whole => return Err(unexpected(token)),
            ContextKind::Parentheses => {
                if let Some(operand) = self.operands.last_mut() {
                    operand.priority = 0;
                }
                return Ok(());
            }
            ContextKind::Curly => {
                let inner = self.operands.pop().ok_or_else(|| unexpected(token))?;
                self.arena
                    .compound(Arc::from("{}"), &[inner.draft])
                    .map_err(too_large)?
            }
            ContextKind::Arguments(name) => self
                .arena
                .compound(name, &self.items[context.items..])
                .map_err(too_large)?,
            ContextKind::List(barred) => {
                let items = &self.items[context.items..];
                let (elements, mut list) = match items.split_last() {
                    Some((tail, elements)) if barred => (elements, *tail),
                    _ => (items, self.arena.leaf(Node::Atom(Arc::from("[]")))),
                };
                let dot: Name = Arc::from(".");
                for element in elements.iter().rev() {
                    list = self
                        .arena
                        .compound(Arc::clone(&dot), &[*element, list])
                        .map_err(too_large)?;
                }
                list
            }
        };
        self.items.truncate(context.items);
        self.operands.truncate(context.operands);
        self.operands.push(Operand { draft, priority: 0 });
        Ok(())
    }

    fn push_leaf(&mut self, node: Node, priority: u16) {
        let draft = self.arena.leaf(node);
        self.operands.push(Operand { draft, priority });
    }
}

/// What the token after an operand has done.
enum After {
    /// There is a (larger) operand.
    Operand,
    WantOperand,
    Finished,
}

/// Whether the token after a prefix operator's name begins its operand. If not,
/// the name is an atom.
fn begins_operand(next: &Token<'_>) -> bool {
    match &next.kind {
        TokenKind::Name(name, _) => {
            next.bracket_follows
                || operators::infix(name).is_none()
                || operators::prefix(name).is_some()
        }
        TokenKind::Variable(_)
        | TokenKind::Integer(_)
        | TokenKind::Text(_)
        | TokenKind::Open
        | TokenKind::OpenList
        | TokenKind::OpenCurly => true,
        _ => false,
    }
}

impl ReadTerm {
    /// The number of the variable with this name.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<u32> {
        self.variables
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests;
