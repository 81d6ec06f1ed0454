//! JSON Schema for the first argument of an event.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::content::json;
use crate::domain::Refusal;

/// A compiled schema.
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    validator: Validator,
    /// Names of fields that the schema itself mentions, so that they may be repeated to clients.
    names: HashSet<String>,
}

impl Schema {
    /// Compiles a schema. What it refers to must be in it; its patterns are matched in linear time.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever wrote it.
    pub(super) fn compile(schema: &Value) -> Result<Self, String> {
        let validator =
            jsonschema::options().offline().with_pattern_options(PatternOptions::regex()).build(schema).map_err(
                |error| match error.kind() {
                    ValidationErrorKind::Referencing(error) => {
                        format!("a $ref can only point into the schema itself: {error}")
                    }
                    _ => format!("not a JSON Schema: {error}").replace('\n', " "),
                },
            )?;
        let mut names = HashSet::new();
        collect_names(schema, &mut names);
        Ok(Self(Arc::new(Compiled { validator, names })))
    }

    /// Checks an argument. Half of a surrogate pair counts as one character, U+FFFD.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] with the place and the keyword of the schema that it fails, as `arg/items/3:
    /// "maximum"`. Nothing of the argument is repeated: names that the schema does not mention become `*`.
    pub fn check(&self, argument: &RawValue) -> Result<(), Refusal> {
        let Ok(value) = serde_json::from_str::<Value>(&json::mended(argument.get())) else {
            return Err(Refusal::bad_request("arg: not JSON that can be checked"));
        };
        let Err(error) = self.0.validator.validate(&value) else {
            return Ok(());
        };
        let mut path = String::from("arg");
        for segment in error.instance_path() {
            path.push('/');
            match segment {
                LocationSegment::Property(name) if self.0.names.contains(name.as_ref()) => path.push_str(&name),
                LocationSegment::Property(_) => path.push('*'),
                LocationSegment::Index(index) => path.push_str(&index.to_string()),
            }
        }
        let keyword = error.kind().keyword();
        Err(Refusal::bad_request(match error.kind() {
            // It is the schema that names it.
            ValidationErrorKind::Required { property } => {
                format!("{path}: {keyword:?}: {}", property.as_str().unwrap_or_default())
            }
            _ => format!("{path}: {keyword:?}"),
        }))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema(…)")
    }
}

fn collect_names(schema: &Value, names: &mut HashSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                names.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| collect_names(field, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}
