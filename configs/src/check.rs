//! Checks that no type can make: ranges, and values that only fail together.

use std::path::Path;

use crate::error::RecipeError;
use crate::recipe::{LossPreset, Negatives, Recipe, Teacher};

/// Whether the recipe's values make a run.
pub(crate) fn check(recipe: &Recipe, path: &Path) -> Result<(), RecipeError> {
    let fail =
        |key: &str, message: String| Err(RecipeError::Value { path: path.to_owned(), key: key.to_owned(), message });
    let Recipe { model, data, loss, optimizer, .. } = recipe;

    if recipe.sub_batch_tokens == 0 {
        return fail("sub_batch_tokens", "is 0: a sub-batch needs at least one token".into());
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
    if !(loss.temperature > 0.0 && loss.temperature.is_finite()) {
        return fail(
            "loss.temperature",
            format!("is {}: scores are divided by it, so it must be above 0", loss.temperature),
        );
    }
    if !(0.0..=1.0).contains(&data.shuffle_ratio) {
        return fail("data.shuffle_ratio", format!("is {}: a share from 0 to 1 is expected", data.shuffle_ratio));
    }
    for (key, len) in [("data.query_max_len", data.query_max_len), ("data.passage_max_len", data.passage_max_len)] {
        if len < 3 {
            return fail(key, format!("is {len}: two special tokens and one of the text need 3"));
        }
    }
    if data.group_size == 0 {
        return fail("data.group_size", "is 0: a group has at least its positive".into());
    }
    if data.group_size == 1 && data.negatives == Negatives::Own {
        return fail("data.group_size", "is 1 with negatives = \"own\": there is nothing to contrast with".into());
    }
    if data.two_way && data.negatives == Negatives::Own {
        return fail("data.two_way", "needs in-batch negatives: set data.negatives to \"all\" or \"in_batch\"".into());
    }
    let mut previous = 0;
    for group in &data.length_groups {
        if group.max_len <= previous {
            return fail(
                "data.length_groups",
                format!("max_len {} follows {previous}: list them ascending", group.max_len),
            );
        }
        if group.global_batch == 0 {
            return fail("data.length_groups", format!("the group up to {} tokens has global_batch 0", group.max_len));
        }
        previous = group.max_len;
    }
    if loss.preset == LossPreset::Dense && loss.teacher == Teacher::None && loss.distill_start_step > 0 {
        return fail("loss.distill_start_step", "has no meaning with preset = \"dense\", which does not distil".into());
    }
    for (key, value) in [
        ("optimizer.learning_rate", optimizer.learning_rate),
        ("optimizer.weight_decay", optimizer.weight_decay),
        ("optimizer.max_grad_norm", optimizer.max_grad_norm),
        ("optimizer.epsilon", optimizer.epsilon),
    ] {
        if !(value >= 0.0 && value.is_finite()) {
            return fail(key, format!("is {value}: a number of at least 0 is expected"));
        }
    }
    for (key, value) in [
        ("optimizer.warmup_ratio", optimizer.warmup_ratio),
        ("optimizer.beta1", optimizer.beta1),
        ("optimizer.beta2", optimizer.beta2),
    ] {
        if !(0.0..=1.0).contains(&value) {
            return fail(key, format!("is {value}: a number from 0 to 1 is expected"));
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
    fn length_groups_ascend() {
        let text =
            "name = \"t\"\n[data]\nlength_groups = [{max_len = 9, global_batch = 1}, {max_len = 8, global_batch = 1}]";
        assert!(Recipe::parse(text, Path::new("t.toml"), &[]).unwrap_err().to_string().contains("ascending"));
    }
}
