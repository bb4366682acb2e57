//! Checks of `[data]` that need no store.

use crate::data::{DataSection, LengthGroup, Negatives};

/// Checks that the section's values make batches. The error is the key below `data` and what is wrong with it.
pub(crate) fn check_data(data: &DataSection) -> Result<(), (&'static str, String)> {
    let fail = |key: &'static str, message: String| Err((key, message));
    if !(0.0..=1.0).contains(&data.shuffle_ratio) {
        return fail("shuffle_ratio", format!("is {}: a share from 0 to 1 is expected", data.shuffle_ratio));
    }
    for (key, len) in [("query_max_len", data.query_max_len), ("passage_max_len", data.passage_max_len)] {
        if len < 3 {
            return fail(key, format!("is {len}: two special tokens and one of the text need 3"));
        }
    }
    if data.group_size == 0 {
        return fail("group_size", "is 0: a group has at least its positive".into());
    }
    if data.group_size == 1 && data.negatives == Negatives::Own {
        return fail("group_size", "is 1 with negatives = \"own\": there is nothing to contrast with".into());
    }
    if data.two_way && data.negatives == Negatives::Own {
        return fail("two_way", "needs in-batch negatives: set data.negatives to \"all\" or \"in_batch\"".into());
    }
    check_length_groups(&data.length_groups).or_else(|message| fail("length_groups", message))?;
    for set in &data.sets {
        let named = |message: String| format!("`{}`: {message}", set.name);
        let groups = set.length_groups.as_deref().unwrap_or_default();
        check_length_groups(groups).or_else(|message| fail("sets", named(format!("length_groups: {message}"))))?;
    }
    check_mixture(data)
}

fn check_length_groups(groups: &[LengthGroup]) -> Result<(), String> {
    let mut previous = 0;
    for group in groups {
        if group.max_len <= previous {
            return Err(format!("max_len {} follows {previous}: list them ascending", group.max_len));
        }
        if group.global_batch == 0 {
            return Err(format!("the group up to {} tokens has global_batch 0", group.max_len));
        }
        previous = group.max_len;
    }
    Ok(())
}

/// Checks weights, shares and their changes.
fn check_mixture(data: &DataSection) -> Result<(), (&'static str, String)> {
    let fail = |key: &'static str, message: String| Err((key, message));
    let temperature = data.sampling_temperature;
    if !(temperature > 0.0 && temperature.is_finite()) {
        return fail("sampling_temperature", format!("is {temperature}: a number above 0 is expected"));
    }
    let bad_weight = |weight: f64| !(weight >= 0.0 && weight.is_finite());
    for set in &data.sets {
        if let Some(weight) = set.weight.filter(|&weight| bad_weight(weight)) {
            return fail("sets", format!("`{}`: weight is {weight}: a number of at least 0 is expected", set.name));
        }
        if let Some(share) = set.share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return fail("sets", format!("`{}`: share is {share}: above 0 and at most 1 is expected", set.name));
        }
        if set.weight.is_some() && set.share.is_some() {
            return fail("sets", format!("`{}` has a weight and a share: keep one of them", set.name));
        }
    }
    let shares: f64 = data.sets.iter().filter_map(|set| set.share).sum();
    if shares > 1.0 + 1e-9 {
        return fail("sets", format!("shares add up to {shares}: at most 1 is expected"));
    }
    let mut previous = 0;
    for change in &data.changes {
        if change.from_step <= previous {
            let expected = "list them ascending, from step 1 on";
            return fail("changes", format!("from_step {} follows {previous}: {expected}", change.from_step));
        }
        previous = change.from_step;
        for (name, &weight) in &change.weights {
            if bad_weight(weight) {
                return fail("changes", format!("`{name}`: weight is {weight}: a number of at least 0 is expected"));
            }
            if data.sets.iter().any(|set| set.name == *name && set.share.is_some()) {
                return fail("changes", format!("`{name}` has a share, which a weight does not change"));
            }
        }
    }
    Ok(())
}
