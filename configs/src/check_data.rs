//! Checks of `[data]` that need no store.

use crate::data::{DataSection, LengthGroup, Negatives};

/// Passages of a query at most, of which lists are made row by row.
const MOST_IN_GROUP: usize = 10_000;

/// Checks that the section's values make batches. The error is the key below `data` and what is wrong with it.
/// `of_texts` says that rows are texts alone.
pub(crate) fn check_data(data: &DataSection, of_texts: bool) -> Result<(), (&'static str, String)> {
    if of_texts {
        check_of_texts(data)?;
    }
    let fail = |key: &'static str, message: String| Err((key, message));
    if !(0.0..=1.0).contains(&data.shuffle_ratio) {
        return fail("shuffle_ratio", format!("is {}: a share from 0 to 1 is expected", data.shuffle_ratio));
    }
    let lens = [
        ("query_max_len", data.query_max_len),
        ("passage_max_len", data.passage_max_len),
        ("text_max_len", data.text_max_len),
    ];
    for (key, len) in lens {
        if len < 3 {
            return fail(key, format!("is {len}: two special tokens and one of the text need 3"));
        }
    }
    if data.group_size == 0 {
        return fail("group_size", "is 0: a group has at least its positive".into());
    }
    let of_sets = data.sets.iter().filter_map(|set| set.group_size);
    if let Some(size) = of_sets.chain([data.group_size]).find(|size| *size > MOST_IN_GROUP) {
        return fail("group_size", format!("is {size}: at most {MOST_IN_GROUP} passages a query are expected"));
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

/// Checks that nothing is asked for that texts alone do not have: what was meant would not happen.
fn check_of_texts(data: &DataSection) -> Result<(), (&'static str, String)> {
    let plain = DataSection::default();
    let is_given = [
        ("query_max_len", data.query_max_len != plain.query_max_len),
        ("passage_max_len", data.passage_max_len != plain.passage_max_len),
        ("group_size", data.group_size != plain.group_size),
        ("negatives", data.negatives != plain.negatives),
        ("two_way", data.two_way != plain.two_way),
        ("few_negatives", data.few_negatives != plain.few_negatives),
        ("query_prefix", data.query_prefix != plain.query_prefix),
        ("passage_prefix", data.passage_prefix != plain.passage_prefix),
        ("shuffle_ratio", data.shuffle_ratio != plain.shuffle_ratio),
    ];
    let meaningless = |key: &str| {
        let instead = if key.ends_with("max_len") { ", or set data.text_max_len" } else { "" };
        format!("has no meaning with a preset that pre-trains, whose rows are texts alone: take it out{instead}")
    };
    if let Some((key, _)) = is_given.into_iter().find(|(_, given)| *given) {
        return Err((key, meaningless(key)));
    }
    for set in &data.sets {
        let given = [
            ("group_size", set.group_size.is_some()),
            ("negatives", set.negatives.is_some()),
            ("two_way", set.two_way.is_some()),
            ("few_negatives", set.few_negatives.is_some()),
            ("symmetric", set.symmetric.is_some()),
            ("query_prefix", set.query_prefix.is_some()),
            ("passage_prefix", set.passage_prefix.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(("sets", format!("`{}`: {key} {}", set.name, meaningless(key))));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataSet;

    #[test]
    fn what_texts_alone_do_not_have_is_not_asked_for() {
        let plain = DataSection { text_max_len: 512, sampling_temperature: 3.0, ..DataSection::default() };
        assert_eq!(check_data(&plain, true), Ok(()));
        let refused = |data: DataSection| {
            assert!(check_data(&data, false).is_ok());
            check_data(&data, true).unwrap_err()
        };
        let (key, message) = refused(DataSection { passage_max_len: 512, ..plain.clone() });
        assert!(key == "passage_max_len" && message.ends_with("or set data.text_max_len"), "{message}");
        let (key, message) = refused(DataSection { query_prefix: "query: ".into(), ..plain.clone() });
        assert!(key == "query_prefix" && message.ends_with("take it out"), "{message}");
        let set = DataSet { name: "en".into(), group_size: Some(2), ..DataSet::default() };
        let (key, message) = refused(DataSection { sets: vec![set], ..plain });
        assert!(key == "sets" && message.starts_with("`en`: group_size has no meaning"), "{message}");
    }

    #[test]
    fn a_text_has_room_for_a_token() {
        let (key, message) = check_data(&DataSection { text_max_len: 2, ..DataSection::default() }, true).unwrap_err();
        assert!(key == "text_max_len" && message.contains("is 2"), "{message}");
    }
}
