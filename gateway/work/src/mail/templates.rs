//! Templates of letters: a subject, a text, and HTML in which everything that is filled in is escaped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// Steps that filling one in may take: more is a loop that nobody meant.
const FUEL: u64 = 1_000_000;
/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Those that are part of the program.
const BUILT_IN: [(&str, &str); 9] = [
    ("message.subject", include_str!("templates/message.subject")),
    ("message.txt", include_str!("templates/message.txt")),
    ("message.html", include_str!("templates/message.html")),
    ("digest.subject", include_str!("templates/digest.subject")),
    ("digest.txt", include_str!("templates/digest.txt")),
    ("digest.html", include_str!("templates/digest.html")),
    ("active-chat.subject", include_str!("templates/active-chat.subject")),
    ("active-chat.txt", include_str!("templates/active-chat.txt")),
    ("active-chat.html", include_str!("templates/active-chat.html")),
];

/// All templates there are.
pub struct Templates {
    environment: Environment<'static>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.environment.templates().map(|(name, _)| name)).finish()
    }
}

impl Templates {
    /// Reads those of a folder; where its path is empty there are only those of the program.
    ///
    /// # Errors
    /// The folder cannot be read, a template has a mistake, or a part of one is missing; in words that name the file.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let mut sources: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
        if !folder.as_os_str().is_empty() {
            let own = files(folder)?;
            // One of the program's is taken the place of as a whole: its other parts would not fit.
            let names: Vec<_> = own.keys().map(|file| stem(file).to_owned()).collect();
            sources.retain(|file, _| !names.iter().any(|name| name == stem(file)));
            sources.extend(own);
        }
        let place = |file: &str| folder.join(file).display().to_string();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        // A text ends with its last line.
        environment.set_keep_trailing_newline(true);
        environment.set_auto_escape_callback(
            |name| {
                if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
            },
        );
        for (file, source) in &sources {
            let added = environment.add_template_owned(file.clone(), source.clone());
            added.map_err(|error| format!("mail.templates: {}:{}: {error}", place(file), error.line().unwrap_or(1)))?;
        }
        for file in sources.keys() {
            let name = stem(file);
            // What others include is no template by itself.
            if name.starts_with('_') {
                continue;
            }
            for part in ["subject", "txt"] {
                let needed = format!("{name}.{part}");
                if !sources.contains_key(&needed) {
                    return Err(format!(
                        "mail.templates: {} is missing: a template needs a .subject and a .txt",
                        place(&needed)
                    ));
                }
            }
        }
        let templates = Self { environment };
        for file in sources.keys() {
            templates.try_out(file).map_err(|why| format!("mail.templates: {}: {why}", place(file)))?;
        }
        Ok(templates)
    }

    /// Fills one in with nothing: what it names of filters and of other files must be there. What it needs of data is known later.
    fn try_out(&self, file: &str) -> Result<(), String> {
        let template = self.environment.get_template(file).map_err(|error| error.to_string())?;
        let Err(error) = template.render(minijinja::context! {}) else { return Ok(()) };
        let mut cause: &dyn std::error::Error = &error;
        loop {
            let kind = cause.downcast_ref::<minijinja::Error>().map(minijinja::Error::kind);
            if matches!(
                kind,
                Some(
                    ErrorKind::TemplateNotFound
                        | ErrorKind::UnknownFilter
                        | ErrorKind::UnknownFunction
                        | ErrorKind::UnknownTest
                        | ErrorKind::UnknownBlock
                        | ErrorKind::SyntaxError
                )
            ) {
                return Err(cause.to_string());
            }
            match cause.source() {
                Some(source) => cause = source,
                None => return Ok(()),
            }
        }
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        !name.starts_with('_') && self.environment.get_template(&format!("{name}.subject")).is_ok()
    }

    /// Fills one in: subject, text, and HTML if it has any.
    ///
    /// # Errors
    /// There is none of this name, or the data does not fit it.
    pub(super) fn fill_in(&self, name: &str, data: &Value) -> Result<(String, String, Option<String>), String> {
        if !self.has(name) {
            return Err(format!("there is no template {name:?}"));
        }
        let render = |part: &str| {
            let file = format!("{name}.{part}");
            let template = self.environment.get_template(&file).map_err(|error| format!("template {file}: {error}"))?;
            template.render(data).map_err(|error| format!("template {file}: {error}"))
        };
        let html = self.environment.get_template(&format!("{name}.html")).is_ok();
        // A subject is one line, whatever its template's last is.
        let subject = render("subject")?.trim().to_owned();
        Ok((subject, render("txt")?, html.then(|| render("html")).transpose()?))
    }
}

/// What a file is called without what kind of a part it is.
fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// The parts of templates in a folder, by their names.
fn files(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let wrong = |what: &Path, why: &dyn fmt::Display| format!("mail.templates: {}: {why}", what.display());
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|error| wrong(folder, &error))? {
        let path = entry.map_err(|error| wrong(folder, &error))?.path();
        let is_part = path.extension().is_some_and(|kind| kind == "subject" || kind == "txt" || kind == "html");
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| is_part) else { continue };
        let size = std::fs::metadata(&path).map_err(|error| wrong(&path, &error))?.len();
        if size > MAX_FILE_BYTES {
            return Err(wrong(&path, &format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, &error))?;
        files.insert(name.to_owned(), text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_filled_in_is_escaped_in_html_and_nowhere_else() {
        let templates = Templates::read("".as_ref()).unwrap();
        let data = json!({ "subject": "a < b & c", "message": "<script>alert('x')</script>\n{{ 7 * 7 }}" });
        let (subject, text, html) = templates.fill_in("message", &data).unwrap();
        assert_eq!(subject, "a < b & c");
        assert!(text.contains("<script>alert('x')</script>") && text.contains("{{ 7 * 7 }}"), "{text}");
        let html = html.unwrap();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("{{ 7 * 7 }}"), "what is filled in is no template: {html}");
        assert!(templates.fill_in("message", &json!({ "subject": "x" })).unwrap_err().contains("message.txt"));
    }

    #[test]
    fn a_folder_adds_to_the_templates_and_takes_their_place() {
        let own = folder(&[
            ("order.subject", "Order {{ number }}\n"),
            ("order.txt", "{% include '_foot.txt' %}"),
            ("_foot.txt", "foot"),
            ("message.subject", "mine"),
            ("message.txt", "mine, too"),
            ("README.md", "{{ no template"),
        ]);
        let templates = Templates::read(own.path()).unwrap();
        let order = templates.fill_in("order", &json!({ "number": 7 })).unwrap();
        assert_eq!(order, ("Order 7".into(), "foot".into(), None));
        assert_eq!(templates.fill_in("message", &json!({})).unwrap(), ("mine".into(), "mine, too".into(), None));
        assert!(templates.has("digest") && !templates.has("_foot") && !templates.has("README"));
    }

    #[test]
    fn mistakes_show_at_the_start() {
        for (files, word) in [
            (vec![("a.subject", "x"), ("a.txt", "one\n{{ x")], "a.txt:2"),
            (vec![("a.subject", "x"), ("a.html", "x")], "a.txt is missing"),
            (vec![("a.txt", "x")], "a.subject is missing"),
            (vec![("a.subject", "x"), ("a.txt", "{% include 'b.txt' %}")], "b.txt"),
            (vec![("a.subject", "x"), ("a.txt", "{{ 'x'|shout }}")], "shout"),
        ] {
            let own = folder(&files);
            let said = Templates::read(own.path()).unwrap_err();
            assert!(said.starts_with("mail.templates: ") && said.contains(word), "{said}");
        }
        let said = Templates::read("no/such/folder".as_ref()).unwrap_err();
        assert!(said.contains("no/such/folder"), "{said}");
    }

    #[test]
    fn a_loop_without_an_end_ends() {
        let text = "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}";
        let own = folder(&[("a.subject", "x"), ("a.txt", text)]);
        let templates = Templates::read(own.path()).unwrap();
        assert!(templates.fill_in("a", &json!({})).unwrap_err().contains("a.txt"));
    }
}
