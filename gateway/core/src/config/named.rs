//! Sections of the configuration that people give names to: the default file has one as an example, with the keys and defaults
//! of all.

use toml::{Table, Value};

/// Where sections have names that people give them, and what the one is called that has their keys and defaults.
const NAMED: &str = "redis.of";
const EXAMPLE: &str = "NAME";

/// What the defaults have of a name below a path: where people give names to sections, that of the example.
pub(super) fn inner<'a>(schema: &'a Table, path: &str, name: &str) -> Option<&'a Value> {
    schema.get(if path == NAMED { EXAMPLE } else { name })
}

/// A section of what is merged; one that people name begins with the defaults.
pub(super) fn section_of<'a>(into: &'a mut Table, path: &str, name: &str, defaults: &Table) -> Option<&'a mut Table> {
    if path == NAMED {
        into.entry(name).or_insert_with(|| Value::Table(defaults.clone()));
    }
    into.get_mut(name).and_then(Value::as_table_mut)
}

/// The example of a section that people name is none of theirs.
pub(super) fn without_examples(mut defaults: Table) -> Table {
    let (section, of) = NAMED.split_once('.').unwrap_or_default();
    let named = defaults.get_mut(section).and_then(|section| section.get_mut(of)).and_then(Value::as_table_mut);
    named.map(|named| named.remove(EXAMPLE));
    defaults
}
