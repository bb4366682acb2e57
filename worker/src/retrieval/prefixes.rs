//! What stands before texts: what is asked for, or else what the model's folder names.
//!
//! A prefix is put before a text with a space between, as training does it; a prompt of the folder as it is, as
//! sentence-transformers does it.

use tercet_cluster::Collective;
use tercet_configs::Prompts;
use tercet_protocol::args::{Prefixes, Side};

/// What stands before a query and before a passage, spaces included: what is asked for, or else what `folder` names.
pub fn over(asked: &Prefixes, folder: &Prompts) -> [String; 2] {
    [chosen(asked.query_prefix.as_deref(), &folder.query), chosen(asked.passage_prefix.as_deref(), &folder.passage)]
}

/// What stands before the texts of `encode`: the prefix that is given, or the folder's prompt for `side`, or for texts
/// of which that is not said.
pub fn of_texts(prefix: Option<&str>, side: Option<Side>, folder: &Prompts) -> String {
    let named = match side {
        Some(Side::Query) => &folder.query,
        Some(Side::Passage) => &folder.passage,
        None => &folder.default,
    };
    chosen(prefix, named)
}

fn chosen(prefix: Option<&str>, named: &Option<String>) -> String {
    match prefix {
        Some(prefix) => Prompts::of_prefixes(prefix, "").query.unwrap_or_default(),
        None => named.clone().unwrap_or_default(),
    }
}

/// Reports, on rank 0, what stands before texts, and warns where texts begin with it already.
pub fn tell<'a>(ranks: &dyn Collective, what: &str, prompt: &str, mut texts: impl Iterator<Item = &'a str>) {
    if ranks.rank() != 0 || prompt.is_empty() {
        return;
    }
    tracing::info!("{what} begin with {prompt:?}");
    let start = prompt.trim_end();
    if !start.is_empty() && texts.any(|text| text.trim_start().starts_with(start)) {
        tracing::warn!(
            "some of the {what} have it already: they begin with it twice; an empty prefix puts nothing before them"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_goes_before_what_the_folder_names() {
        let folder = Prompts::of_prefixes("query:", "passage: ");
        let asked = |query: Option<&str>, passage: Option<&str>| Prefixes {
            query_prefix: query.map(str::to_owned),
            passage_prefix: passage.map(str::to_owned),
        };
        assert_eq!(over(&asked(None, None), &folder), ["query: ", "passage: "]);
        assert_eq!(over(&asked(Some("q"), Some("")), &folder), ["q ", ""]);
        assert_eq!(over(&asked(None, None), &Prompts::default()), ["", ""]);
        assert_eq!(of_texts(None, None, &folder), "");
        assert_eq!(of_texts(None, Some(Side::Passage), &folder), "passage: ");
        assert_eq!(of_texts(Some("p "), Some(Side::Query), &folder), "p ");
        let by_default = Prompts { default: Some("d: ".into()), ..folder };
        assert_eq!(of_texts(None, None, &by_default), "d: ");
    }
}
