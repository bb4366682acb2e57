//! A step that is made too large for the card on purpose: it must end with a sentence that says so, and with the code
//! of a machine that has failed.

use std::time::Instant;

use serde_json::json;
use tercet_configs::ExitCode;

use crate::found::Found;
use crate::inputs;
use crate::recipes::{config, recipe, store};
use crate::sizes::TOKENIZER_WORDS;
use crate::stage::Stage;
use tercet_fixtures::RecipeBuilder;

/// Bytes of a token's graph in each layer and dimension; it has about 24, so the tokens that are asked for do not fit.
const GRAPH_BYTES: usize = 16;

pub fn run(stage: &Stage, found: &mut Found, until: Instant) -> anyhow::Result<()> {
    let (model, len) = (&stage.sizes.model, stage.sizes.usual_len);
    let tokens = stage.free_bytes as usize / (GRAPH_BYTES * model.hidden_size * model.num_layers);
    let rows = (tokens / (3 * len)).max(1);
    let made = inputs::rows(rows, [len, len], TOKENIZER_WORDS);
    let (store, tokenizer) = store(stage, "too-large", &made, TOKENIZER_WORDS, until)?;
    let config = config(stage, "too-large", model)?;
    let builder = RecipeBuilder::new("too-large", 100).set("precision", "bf16").fresh_model(&config, &tokenizer);
    let builder = builder.data(&store, [len, len], 2).length_groups(&[(len, rows)]).set("loss.preset", "dense");
    let builder = builder.set("sub_batch_tokens", 2 * tokens).set("kept_graph_tokens", 2 * tokens);
    let mut command = stage.programs.tercet(["bench"]);
    command.arg(recipe(stage, "too-large", &builder)?).args(["--json", "--steps", "1"]);
    let ended = stage.run(command, until)?;
    let said: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("memory")).collect();
    found.figure("tokens", tokens);
    found.figure("code", json!(ended.code));
    found.figure("said", json!(said));
    found.line(format!(
        "{tokens} tokens in one sub-batch: exit code {:?} after {:.1} s, and\n",
        ended.code.unwrap_or(-1),
        ended.secs
    ));
    found.line(format!("```\n{}\n```\n", said.join("\n")));
    if ended.was_stopped || ended.code != Some(ExitCode::Machine.code()) {
        found.wrong(format!("exit code {} was expected: {}", ExitCode::Machine.code(), ended.complaint()));
    }
    for word in ["out of memory", "sub_batch_tokens"] {
        if !said.iter().any(|line| line.contains(word)) {
            found.wrong(format!("what it said has no {word:?}"));
        }
    }
    Ok(())
}
