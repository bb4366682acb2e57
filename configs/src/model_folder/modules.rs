//! Reads modules.json: the modules that a text runs through, each with its class and its folder.

use std::path::{Component, Path};

use serde_json::Value;

/// Classes of the first module: the current one, and those of the first releases.
pub(super) const TRANSFORMERS: [&str; 5] = ["Transformer", "BERT", "RoBERTa", "XLMRoBERTa", "CamemBERT"];

/// A module in modules.json.
pub(super) struct Module<'a> {
    /// The class without its path of definition.
    pub class: &'a str,
    /// The class with its path of definition.
    pub full: &'a str,
    /// Whether it is one of sentence-transformers' own.
    pub own: bool,
    /// Its folder, without a leading `./` and a trailing slash, with slashes for a Windows machine's backslashes; empty
    /// for the root.
    pub path: String,
}

impl Module<'_> {
    /// Whether it computes something that Tercet does not.
    pub fn is_other(&self) -> bool {
        !self.own || !(TRANSFORMERS.contains(&self.class) || ["Pooling", "Normalize"].contains(&self.class))
    }
}

/// The modules in their order. The error is the reason alone.
pub(super) fn listed(modules: &Value) -> Result<Vec<Module<'_>>, String> {
    let modules = modules.as_array().ok_or("is not a list of modules")?;
    modules
        .iter()
        .map(|module| {
            let text = |key: &str| module.get(key).and_then(Value::as_str);
            let class = text("type").ok_or("a module has no type")?;
            let path = text("path").ok_or_else(|| format!("the module {class} has no path"))?.replace('\\', "/");
            let path = without_dot(path.trim_end_matches('/')).to_owned();
            let inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
            if !inside {
                return Err(format!("the module {class} is at {path:?}, outside of the model's folder"));
            }
            let own = class.starts_with("sentence_transformers.");
            Ok(Module { class: class.rsplit('.').next().unwrap_or(class), full: class, own, path })
        })
        .collect()
}

/// Turns `./a` into `a`, and `.` into the root.
fn without_dot(mut path: &str) -> &str {
    while let Some(below) = path.strip_prefix("./") {
        path = below.trim_start_matches('/');
    }
    if path == "." { "" } else { path }
}
