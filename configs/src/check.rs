//! Checks that types cannot express: ranges, and values that fail only together.

use std::path::Path;

use crate::check_data::check_data;
use crate::check_eval::check_eval;
use crate::error::RecipeError;
use crate::recipe::{Backend, DeviceChoice, LossPreset, LossSection, PretrainSection, Recipe, Teacher};

/// Mask sets of a text: with more, each row of the decoder could as well have its own.
const MOST_MASK_SETS: usize = 4096;

/// Thirty years: what is longer is a slip, and some is longer than a duration can be.
const MOST_SECS: f64 = 1e9;

/// Rows of a table of positions, and of the multi-vector head, at most: far beyond what any memory holds of a model.
const MOST_ROWS: usize = 1 << 24;

/// Checks that the recipe's values make a run.
pub(crate) fn check(recipe: &Recipe, path: &Path) -> Result<(), RecipeError> {
    let fail =
        |key: &str, message: String| Err(RecipeError::Value { path: path.to_owned(), key: key.to_owned(), message });
    let Recipe { model, data, loss, optimizer, faults, restart, .. } = recipe;

    if recipe.device == DeviceChoice::Cpu && recipe.backend == Backend::Nccl {
        let message = "is \"nccl\", which carries tensors between GPUs, beside device = \"cpu\": keep one of the two";
        return fail("backend", message.into());
    }
    if recipe.sub_batch_tokens == 0 {
        return fail("sub_batch_tokens", "is 0: a sub-batch needs at least one token".into());
    }
    if recipe.memory_budget.is_some() && recipe.kept_graph_tokens.is_some_and(|tokens| tokens > 0) {
        return fail(
            "kept_graph_tokens",
            "is given beside memory_budget, which decides it: keep one of the two".into(),
        );
    }
    if model.path.is_some() && model.config.is_some() {
        return fail(
            "model.config",
            "is given beside model.path: keep path to load weights, config to start fresh".into(),
        );
    }
    if let Some(p) = model.dropout.filter(|p| !(0.0..1.0).contains(p)) {
        return fail("model.dropout", format!("is {p}: a probability from 0 to below 1 is expected"));
    }
    check_alpha(model.positions_alpha).or_else(|message| fail("model.positions_alpha", message))?;
    if !(loss.temperature > 0.0 && loss.temperature.is_finite()) {
        return fail(
            "loss.temperature",
            format!("is {}: scores are divided by it, so it must be above 0", loss.temperature),
        );
    }
    check_pretrain(&recipe.pretrain).or_else(|(key, message)| fail(key, message))?;
    check_weights(loss).or_else(|(key, message)| fail(key, message))?;
    check_data(data, loss.preset.is_pretraining()).or_else(|(key, message)| fail(&format!("data.{key}"), message))?;
    check_eval(recipe).or_else(|(key, message)| fail(key, message))?;
    if loss.preset == LossPreset::Dense && loss.teacher == Teacher::None && loss.distill_start_step > 0 {
        return fail("loss.distill_start_step", "has no meaning with preset = \"dense\", which does not distil".into());
    }
    if loss.preset.is_pretraining() && loss.teacher != Teacher::None {
        return fail("loss.teacher", "has no meaning in pre-training, whose texts have no scores".into());
    }
    if faults.max_in_a_row == 0 {
        return fail("faults.max_in_a_row", "is 0: at least 1 is expected, which acts at the first fault".into());
    }
    for (key, value) in [
        ("faults.grad_norm_spike", faults.grad_norm_spike),
        ("restart.backoff_secs", restart.backoff_secs),
        ("restart.hang_secs", restart.hang_secs),
        ("restart.stop_secs", restart.stop_secs),
        ("optimizer.learning_rate", optimizer.learning_rate),
        ("optimizer.weight_decay", optimizer.weight_decay),
        ("optimizer.max_grad_norm", optimizer.max_grad_norm),
        ("optimizer.epsilon", optimizer.epsilon),
    ] {
        if !(value >= 0.0 && value.is_finite()) {
            return fail(key, format!("is {value}: a number of at least 0 is expected"));
        }
        if key.ends_with("_secs") && value > MOST_SECS {
            return fail(key, format!("is {value}: at most {MOST_SECS} seconds are expected"));
        }
        if key.starts_with("optimizer.") && !(value as f32).is_finite() {
            return fail(key, format!("is {value}, which is no 32-bit number"));
        }
    }
    if optimizer.epsilon as f32 == 0.0 {
        let message = format!(
            "is {}, which is 0 in 32 bits: a weight that no gradient has reached would be divided by it",
            optimizer.epsilon
        );
        return fail("optimizer.epsilon", message);
    }
    if !(0.0..=1.0).contains(&optimizer.warmup_ratio) {
        let message = format!("is {}: a number from 0 to 1 is expected", optimizer.warmup_ratio);
        return fail("optimizer.warmup_ratio", message);
    }
    for (key, value) in [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)] {
        if !(0.0..1.0).contains(&value) {
            return fail(key, format!("is {value}: a number from 0 to below 1 is expected"));
        }
    }
    for (key, value) in [
        ("model.max_position_embeddings", model.max_position_embeddings),
        ("model.multi_vector_dim", model.multi_vector_dim),
    ] {
        if value > MOST_ROWS {
            return fail(key, format!("is {value}: at most {MOST_ROWS} is expected"));
        }
    }
    Ok(())
}

/// Why positions cannot be made of the learned ones with this weight.
fn check_alpha(alpha: f64) -> Result<(), String> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(format!("is {alpha}: it weighs against 1 − {alpha}, so a number above 0 and below 1 is expected"));
    }
    if alpha == 0.5 {
        return Err("is 0.5, which makes the positions i·n + j and j·n + i the same: 0.4 is the usual value".into());
    }
    Ok(())
}

/// Bounds of a weight that is not 0: a masked score, and a sum of them, must stay far below all others and finite.
const WEIGHTS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// The first key of what pre-training hides that cannot be used, and why.
fn check_pretrain(pretrain: &PretrainSection) -> Result<(), (&'static str, String)> {
    for (key, share, left) in [
        ("pretrain.encoder_mask", pretrain.encoder_mask, "the encoder reads"),
        ("pretrain.decoder_mask", pretrain.decoder_mask, "the decoder sees"),
    ] {
        if !(share > 0.0 && share < 1.0) {
            return Err((
                key,
                format!(
                    "is {share}: a share above 0 and below 1 is expected, so that something is hidden and something is \
                     left that {left}"
                ),
            ));
        }
    }
    if !(1..=MOST_MASK_SETS).contains(&pretrain.mask_sets) {
        return Err((
            "pretrain.mask_sets",
            format!("is {}: from 1 to {MOST_MASK_SETS} are expected", pretrain.mask_sets),
        ));
    }
    Ok(())
}

/// The first key of the losses' weights that cannot be used, and why.
fn check_weights(loss: &LossSection) -> Result<(), (&'static str, String)> {
    for (key, weights) in [("loss.head_weights", loss.head_weights), ("loss.hybrid_weights", loss.hybrid_weights)] {
        let Some(weights) = weights else { continue };
        if loss.preset == LossPreset::Dense {
            return Err((key, "has no meaning with preset = \"dense\", which has one head".into()));
        }
        if loss.preset.is_pretraining() {
            return Err((key, "has no meaning in pre-training, which trains no head".into()));
        }
        if let Some(weight) = weights.into_iter().find(|weight| *weight != 0.0 && !WEIGHTS.contains(weight)) {
            return Err((key, format!("has the weight {weight}: 0 or a number from 1e-6 to 1e6 is expected")));
        }
        if weights == [0.0; 3] {
            return Err((key, "is 0 for all heads: give one of them a weight".into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_names_key_number_and_remedy() {
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &["loss.temperature=-1".into()]);
        let message = recipe.unwrap_err().to_string();
        assert!(message.contains("loss.temperature: is -1"), "{message}");
    }

    #[test]
    fn hierarchical_positions_need_two_different_weights() {
        let parse = |alpha: &str| {
            let overrides = ["model.positions=hierarchical".into(), format!("model.positions_alpha={alpha}")];
            Recipe::parse("name = \"t\"", Path::new("t.toml"), &overrides).map_err(|error| error.to_string())
        };
        for alpha in ["0.4", "0.6", "0.001"] {
            parse(alpha).unwrap();
        }
        for (alpha, reason) in
            [("0", "above 0"), ("1", "below 1"), ("-0.4", "is -0.4"), ("nan", "above 0"), ("0.5", "the same")]
        {
            let message = parse(alpha).unwrap_err();
            assert!(message.contains("model.positions_alpha: is") && message.contains(reason), "{message}");
        }
    }

    #[test]
    fn fp16_is_refused_with_the_reason() {
        let recipe = Recipe::parse("name = \"t\"\nprecision = \"fp16\"", Path::new("t.toml"), &[]);
        let message = recipe.unwrap_err().to_string();
        assert!(message.contains("loss scaling") && message.contains("use \"bf16\""), "{message}");
        for precision in ["auto", "fp32", "bf16", "fp64"] {
            let text = format!("name = \"t\"\nprecision = \"{precision}\"");
            let recipe = Recipe::parse(&text, Path::new("t.toml"), &[]).unwrap();
            assert!(recipe.to_toml().contains(&format!("precision = \"{precision}\"")));
        }
    }

    #[test]
    fn nccl_has_nothing_to_carry_between_processors() {
        let parse = |device: &str| {
            let text = format!("name = \"t\"\nbackend = \"nccl\"\ndevice = \"{device}\"");
            Recipe::parse(&text, Path::new("t.toml"), &[]).map_err(|error| error.to_string())
        };
        assert!(parse("auto").is_ok() && parse("cuda").is_ok());
        let message = parse("cpu").unwrap_err();
        assert!(message.contains("backend: is \"nccl\"") && message.contains("device = \"cpu\""), "{message}");
        assert!(parse("tpu").unwrap_err().contains("tpu"));
    }

    #[test]
    fn a_budget_decides_what_is_kept() {
        let text = "name = \"t\"\nmemory_budget = \"8GiB\"\nkept_graph_tokens = 5";
        assert!(Recipe::parse(text, Path::new("t.toml"), &[]).unwrap_err().to_string().contains("keep one of the two"));
        // Older recipes wrote 0 where they now leave the key out.
        let none = text.replace("= 5", "= 0");
        assert!(Recipe::parse(&none, Path::new("t.toml"), &[]).is_ok());
    }

    #[test]
    fn a_share_of_masks_leaves_something_to_see_and_to_predict() {
        let parse = |setting: &str| Recipe::parse("name = \"t\"", Path::new("t.toml"), &[setting.into()]);
        for refused in ["encoder_mask=0", "encoder_mask=1", "decoder_mask=1.0", "decoder_mask=nan", "mask_sets=0"] {
            let message = parse(&format!("pretrain.{refused}")).unwrap_err().to_string();
            assert!(message.contains("pretrain."), "{message}");
        }
        assert!(parse("pretrain.encoder_mask=0.15").is_ok());
        let teacher = ["loss.preset=\"retromae\"".into(), "loss.teacher=\"kl_div\"".into()];
        assert!(Recipe::parse("name = \"t\"", Path::new("t.toml"), &teacher).is_err());
    }

    #[test]
    fn length_groups_ascend() {
        let text =
            "name = \"t\"\n[data]\nlength_groups = [{max_len = 9, global_batch = 1}, {max_len = 8, global_batch = 1}]";
        assert!(Recipe::parse(text, Path::new("t.toml"), &[]).unwrap_err().to_string().contains("ascending"));
    }

    #[test]
    fn the_losses_weights_are_numbers_of_which_one_is_above_0() {
        let refused = |preset: &str, key: &str, value: &str| {
            let overrides = [format!("loss.preset={preset}"), format!("loss.{key}={value}")];
            Recipe::parse("name = \"t\"", Path::new("t.toml"), &overrides).unwrap_err().to_string()
        };
        for key in ["head_weights", "hybrid_weights"] {
            for (preset, value, reason) in [
                ("unified", "[1, -0.5, 1]", "has the weight -0.5"),
                ("unified", "[1, nan, 1]", "has the weight NaN"),
                ("paper-v1", "[inf, 1, 1]", "has the weight inf"),
                ("independent", "[1, 1e-9, 1]", "from 1e-6 to 1e6"),
                ("unified", "[0, 0, 0]", "give one of them a weight"),
                ("dense", "[1, 0.3, 1]", "preset = \"dense\""),
                ("unified", "[1, 1]", "3"),
            ] {
                let message = refused(preset, key, value);
                assert!(message.contains(key) && message.contains(reason), "{preset} {value}: {message}");
            }
        }
    }
}
