//! How a scenario ended: text for people, JSON for scripts, and whether a promise was broken.

use std::fmt;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Debug)]
pub(crate) struct Outcome {
    text: String,
    json: Value,
    failures: Vec<String>,
}

impl Outcome {
    /// `failures`: one sentence per broken promise.
    pub(crate) fn new<R: Serialize + fmt::Display>(
        scenario: &str,
        report: &R,
        failures: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut json = serde_json::to_value(report)?;
        let fields = json.as_object_mut().context("a report is an object")?;
        fields.insert("scenario".to_owned(), json!(scenario));
        fields.insert("passed".to_owned(), json!(failures.is_empty()));
        fields.insert("failures".to_owned(), json!(failures));
        Ok(Self { text: report.to_string(), json, failures })
    }

    pub(crate) fn text(&self) -> String {
        let verdict = match self.failures.as_slice() {
            [] => "passed".to_owned(),
            failures => format!("FAILED: {}", failures.join(", ")),
        };
        format!("{}\n{verdict}", self.text)
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}
