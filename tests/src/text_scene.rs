//! A pre-training run small enough to be repeated many times.

use std::path::PathBuf;

use tercet_fixtures::{ModelConfig, RecipeBuilder};

use crate::place::Place;
use crate::program::Tercet;

/// Words of the tokenizer, `<mask>` among them.
pub const VOCABULARY: usize = 97;

/// A store of texts, a small fresh model, a recipe.
pub struct TextScene {
    /// Its folder.
    pub place: Place,
    store: PathBuf,
    tokenizer: PathBuf,
}

impl Default for TextScene {
    fn default() -> Self {
        Self::new()
    }
}

impl TextScene {
    /// 48 texts of up to 40 words.
    pub fn new() -> Self {
        let text = |i: usize| {
            let words = (0..1 + (i * 7) % 40).map(|j| format!("w{}", 4 + (i * 5 + j * j) % 90));
            words.collect::<Vec<_>>().join(" ")
        };
        Self::of((0..48).map(text))
    }

    /// With other texts, of at most 62 words from w4 to w95.
    pub fn of(texts: impl IntoIterator<Item = String>) -> Self {
        let place = Place::new();
        let tokenizer = place.mask_tokenizer("tokenizer.json", VOCABULARY);
        let store = place.text_store("store", &tokenizer, texts);
        Self { place, store, tokenizer }
    }

    /// RetroMAE on the texts, from fresh weights without dropout.
    pub fn recipe(&self, steps: u64) -> RecipeBuilder {
        self.recipe_of(
            &ModelConfig { hidden_size: 32, initializer_range: 0.1, ..ModelConfig::tiny(VOCABULARY, 64) },
            steps,
        )
    }

    /// The same with another fresh model.
    pub fn recipe_of(&self, config: &ModelConfig, steps: u64) -> RecipeBuilder {
        let config = self.place.model_config("config.json", config);
        let recipe = RecipeBuilder::new("pretrain", steps).fresh_model(&config, &self.tokenizer);
        let recipe = recipe.set("data.store", &self.store).length_groups(&[(16, 8), (64, 4)]);
        recipe.set("loss.preset", "retromae").set("pretrain.gap_every", 3).set("sub_batch_tokens", 64)
    }

    /// The command that trains as `recipe` says, in the run folder `run`.
    pub fn train(&self, recipe: &RecipeBuilder, run: &str, ranks: usize) -> Tercet {
        let recipe = self.place.recipe(&format!("{run}.toml"), recipe);
        let run_dir = self.place.path(run);
        Tercet::new("train").arg(&recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()))
    }

    /// The path of the checkpoint of `step`.
    pub fn checkpoint(&self, run: &str, step: u64) -> PathBuf {
        self.place.path(run).join(format!("step-{step:08}"))
    }
}
