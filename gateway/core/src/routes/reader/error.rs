//! Why a table cannot be used, with the places in the files.

use std::cell::{Cell, RefCell};

/// How many mistakes are listed.
const MAX_LISTED: usize = 20;

/// Why a table cannot be used: one line for each mistake, as `gateway.toml:12: what is wrong and what was expected`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(String);

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(in crate::routes) struct Errors {
    listed: RefCell<Vec<String>>,
    count: Cell<usize>,
}

impl Errors {
    pub(in crate::routes) fn add(&self, line: String) {
        self.count.set(self.count.get() + 1);
        let mut listed = self.listed.borrow_mut();
        if listed.len() < MAX_LISTED {
            listed.push(line);
        }
    }

    pub(in crate::routes) fn finish(self) -> Result<(), RouteError> {
        let (mut lines, count) = (self.listed.into_inner(), self.count.into_inner());
        if count > lines.len() {
            lines.push(format!("and {} more", count - lines.len()));
        }
        if lines.is_empty() { Ok(()) } else { Err(RouteError(lines.join("\n"))) }
    }
}

/// The text of a file, and where its lines begin.
#[derive(Debug)]
pub(in crate::routes) struct Source {
    /// What people know it by.
    pub(in crate::routes) name: String,
    pub(in crate::routes) text: String,
    breaks: Vec<usize>,
}

impl Source {
    pub(in crate::routes) fn new(name: String, text: String) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { name, text, breaks }
    }

    /// `name:line` of a byte.
    pub(in crate::routes) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, self.breaks.partition_point(|end| *end < at) + 1)
    }
}
