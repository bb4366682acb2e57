//! What the language model is told.

use std::path::Path;

use crate::error::CurateError;

/// Prompts by name. `multilongdoc` is the paper's (arXiv 2402.03216v4, appendix A.2, and the card of Shitao/MLDR),
/// which is the only one published; there it is followed by the text. `multilongdoc-zh` is Tercet's translation of it.
pub const PRESETS: [(&str, &str); 2] = [
    (
        "multilongdoc",
        "You are a curious AI assistant, please generate one specific and valuable question based on the following \
         text. The generated question should revolve around the core content of this text, and avoid using pronouns \
         (e.g., \"this\"). Note that you should generate only one question, without including additional \
         content:\n{text}",
    ),
    (
        "multilongdoc-zh",
        "你是一个充满好奇心的人工智能助手，请根据以下文本提出一个具体且有价值的问题。\
         问题应围绕该文本的核心内容，并避免使用代词（例如“这”）。\
         请注意，只需提出一个问题，不要包含其他内容：\n{text}",
    ),
];

/// A prompt with places for the text and the language.
#[derive(Debug, Clone)]
pub struct Prompt(String);

impl Prompt {
    /// The prompt `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The prompt of a file, without blanks at its end.
    ///
    /// # Errors
    /// The file cannot be read, or has no place for the text.
    pub fn load(path: &Path) -> Result<Self, CurateError> {
        let text = tercet_configs::read_text(path).map_err(|error| {
            let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            let path = path.display();
            CurateError::Usage(format!("prompt: {path}: {error}: a file is expected, or one of {}", names.join(", ")))
        })?;
        match text.contains("{text}") {
            true => Ok(Self(text.trim_end().to_owned())),
            false => {
                Err(CurateError::Usage(format!("{}: a prompt needs {{text}}, where the text goes", path.display())))
            }
        }
    }

    /// The prompt with its places filled.
    pub fn filled(&self, text: &str, language: &str) -> String {
        // The text last: a place's name within it is no place.
        let (before, after) = self.0.split_once("{text}").unwrap_or((&self.0, ""));
        [before.replace("{language}", language).as_str(), text, &after.replace("{language}", language)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_has_places_names_is_left_alone() {
        let prompt = Prompt::new("in {language}: {text} ({language})");
        assert_eq!(prompt.filled("{text} {language}", "de"), "in de: {text} {language} (de)");
    }
}
