//! The parts of a regular expression that Rust's parser and PCRE read differently.

use std::convert::Infallible;

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSetItem, Flag, FlagsItemKind, GroupKind, Literal, LiteralKind, SpecialLiteralKind,
    Visitor,
};

/// Returns a part that PCRE reads differently; `None` where there is none.
pub fn foreign(ast: &Ast) -> Option<&'static str> {
    ast::visit(ast, Foreign(None)).unwrap_or_else(|never| match never {})
}

/// Finds what the parser and PCRE read differently.
struct Foreign(Option<&'static str>);

impl Foreign {
    fn note(&mut self, what: &'static str) {
        self.0.get_or_insert(what);
    }

    fn look_at_literal(&mut self, literal: &Literal) {
        if literal.kind == LiteralKind::Special(SpecialLiteralKind::VerticalTab) {
            self.note("\\v");
        }
    }
}

impl Visitor for Foreign {
    type Err = Infallible;
    type Output = Option<&'static str>;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        // `(?i)` may begin the expression: then it is like `-i`.
        let begins = |flags: &ast::Flags| flags.span.start.offset == "(?".len();
        match ast {
            Ast::Literal(literal) => self.look_at_literal(literal),
            Ast::Flags(flags) => self.look_at_flags(&flags.flags, begins(&flags.flags)),
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    self.look_at_flags(flags, false);
                }
            }
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => {}
                _ => self.note("\\<, \\> or \\b{...}"),
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ClassSetItem::Literal(literal) => self.look_at_literal(literal),
            ClassSetItem::Range(range) => {
                self.look_at_literal(&range.start);
                self.look_at_literal(&range.end);
            }
            ClassSetItem::Bracketed(_) => self.note("a class within a class"),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), Self::Err> {
        self.note("&&, -- or ~~ in a class");
        Ok(())
    }
}

impl Foreign {
    fn look_at_flags(&mut self, flags: &ast::Flags, is_first: bool) {
        for item in &flags.items {
            match item.kind {
                FlagsItemKind::Flag(Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed) => {}
                FlagsItemKind::Flag(Flag::CaseInsensitive) if is_first => {}
                FlagsItemKind::Negation if !is_first => {}
                _ => self.note("flags other than m, s and U, or i at the beginning"),
            }
        }
    }
}
