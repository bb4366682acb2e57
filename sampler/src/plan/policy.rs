//! The recipe's settings for each data set: its own ones override the common ones, and its rows' `type` implies some.

use tercet_configs::{DataSection, DataSet, FewNegatives, LengthGroup, Negatives, Recipe};

use super::PlanError;
use super::prefix::Prefixes;
use crate::rows;
use crate::{DatasetMeta, Holds, SpecialTokens, Store, TextTokenizer};

/// How a data set's rows become batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Passages per query.
    pub group_size: GroupSize,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Whether each positive is also contrasted with all queries.
    pub two_way: bool,
    /// What happens to rows that have too few negatives.
    pub few_negatives: FewNegatives,
    /// The token ids before every query.
    pub query_prefix: Vec<u32>,
    /// The token ids before every passage.
    pub passage_prefix: Vec<u32>,
    /// Batch size by length.
    pub length_groups: Vec<LengthGroup>,
}

/// Passages per query: 1 positive and the rest negatives, or none where rows are texts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSize {
    /// Always this number.
    Fixed(usize),
    /// As many as the batch's first row has, but at most this number. It is for classes, where a row's negatives are
    /// all other labels.
    AsRowsHave(usize),
}

impl GroupSize {
    /// The group size of a batch whose first row has `num_neg` negatives.
    pub fn for_batch(self, num_neg: usize) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::AsRowsHave(most) => (num_neg + 1).min(most),
        }
    }
}

impl Policy {
    /// The policy for rows of data set `name` and type `kind`; length groups are not required.
    ///
    /// # Errors
    /// The recipe's settings for this data set do not make a batch, or `tokenizer` cannot take a prefix.
    pub fn of_rows(
        name: &str,
        kind: Option<&str>,
        recipe: &Recipe,
        tokenizer: TextTokenizer,
    ) -> Result<Self, PlanError> {
        policy_of(name, kind, &recipe.data, &mut Prefixes::with(tokenizer, &recipe.model))
    }

    /// The number of negatives that a row must have; with fewer it cannot be used as the recipe says.
    pub(super) fn min_negatives(&self) -> usize {
        match (self.few_negatives, self.group_size) {
            (_, GroupSize::Fixed(0 | 1) | GroupSize::AsRowsHave(_)) => 0,
            (FewNegatives::Reject, GroupSize::Fixed(size)) => size - 1,
            (FewNegatives::Repeat, GroupSize::Fixed(_)) => 1,
        }
    }
}

/// The policy of one data set. `type` means what it means to the published trainer, except that a group size given for
/// this very data set overrides `only_1neg`.
pub(super) fn policy(
    dataset: &DatasetMeta,
    data: &DataSection,
    prefixes: &mut Prefixes<'_>,
) -> Result<Policy, PlanError> {
    let policy = match dataset.holds {
        Holds::Pairs => policy_of(&dataset.name, dataset.kind.as_deref(), data, prefixes)?,
        Holds::Texts => policy_of_texts(&dataset.name, data),
    };
    if policy.length_groups.is_empty() { Err(PlanError::NoLengthGroups) } else { Ok(policy) }
}

/// The policy of rows that are texts alone: nothing is contrasted, and nothing stands before a text.
fn policy_of_texts(name: &str, data: &DataSection) -> Policy {
    Policy {
        group_size: GroupSize::Fixed(0),
        negatives: Negatives::default(),
        two_way: false,
        few_negatives: FewNegatives::default(),
        query_prefix: Vec::new(),
        passage_prefix: Vec::new(),
        length_groups: length_groups(name, data),
    }
}

fn length_groups(name: &str, data: &DataSection) -> Vec<LengthGroup> {
    let own = data.sets.iter().find(|set| set.name == name);
    own.and_then(|set| set.length_groups.as_ref()).unwrap_or(&data.length_groups).clone()
}

fn policy_of(
    name: &str,
    kind: Option<&str>,
    data: &DataSection,
    prefixes: &mut Prefixes<'_>,
) -> Result<Policy, PlanError> {
    let own: Option<&DataSet> = data.sets.iter().find(|set| set.name == name);
    let refused = |message: &str| Err(setting(name, message));
    let own_size = own.and_then(|set| set.group_size);
    let negatives = own.and_then(|set| set.negatives).unwrap_or(data.negatives);
    let two_way = own.and_then(|set| set.two_way).unwrap_or(data.two_way);
    let size = own_size.unwrap_or(data.group_size);
    let group_size = match (negatives, kind.unwrap_or_default()) {
        (Negatives::InBatch, _) => GroupSize::Fixed(1),
        (_, "symmetric_class") => GroupSize::AsRowsHave(size),
        (_, "only_1neg") => GroupSize::Fixed(own_size.unwrap_or(2)),
        _ => GroupSize::Fixed(size),
    };
    if own_size == Some(0) {
        return refused("group_size is 0: a group has at least its positive");
    }
    if negatives == Negatives::Own && matches!(group_size, GroupSize::Fixed(1) | GroupSize::AsRowsHave(1)) {
        return refused("group_size is 1 with negatives = \"own\": there is nothing to contrast with");
    }
    if negatives == Negatives::Own && two_way {
        return refused("two_way needs in-batch negatives: set negatives to \"all\" or \"in_batch\" for it");
    }
    let length_groups = length_groups(name, data);
    let [query_prefix, passage_prefix] = prefixes_of(name, kind, data);
    let (query_prefix, passage_prefix) = (prefixes.tokens(query_prefix)?, prefixes.tokens(passage_prefix)?);
    must_leave_room(name, "query", &query_prefix, data.query_max_len)?;
    must_leave_room(name, "passage", &passage_prefix, data.passage_max_len)?;
    Ok(Policy {
        group_size,
        negatives,
        two_way,
        few_negatives: own.and_then(|set| set.few_negatives).unwrap_or(data.few_negatives),
        query_prefix,
        passage_prefix,
        length_groups,
    })
}

/// Checks that a prefix leaves a token for the text; otherwise all texts would be the same.
fn must_leave_room(name: &str, side: &str, prefix: &[u32], max_len: usize) -> Result<(), PlanError> {
    if prefix.is_empty() || prefix.len() + SpecialTokens::NUM_FRAMING < max_len {
        return Ok(());
    }
    let message = format!(
        "the prefix of its {} has {} tokens, and {side}_max_len {max_len} leaves none for the text: shorten the prefix, or \
         raise data.{side}_max_len",
        if side == "query" { "queries" } else { "passages" },
        prefix.len()
    );
    Err(setting(name, &message))
}

/// The prefixes of a data set's queries and passages.
fn prefixes_of<'a>(name: &str, kind: Option<&str>, data: &'a DataSection) -> [&'a str; 2] {
    let own = data.sets.iter().find(|set| set.name == name);
    let query = own.and_then(|set| set.query_prefix.as_deref()).unwrap_or(&data.query_prefix);
    let passage = own.and_then(|set| set.passage_prefix.as_deref()).unwrap_or(&data.passage_prefix);
    [query, if is_symmetric(name, kind, data) { query } else { passage }]
}

fn is_symmetric(name: &str, kind: Option<&str>, data: &DataSection) -> bool {
    let own = data.sets.iter().find(|set| set.name == name).and_then(|set| set.symmetric);
    own.unwrap_or_else(|| rows::is_symmetric(kind.unwrap_or_default()))
}

/// The prefixes of queries and passages, if all data sets that are drawn from agree on them. The passages of symmetric
/// sets resemble queries, so they do not count if other sets have passages.
pub fn agreed_prefixes<'a>(store: &Store, data: &'a DataSection) -> Option<(&'a str, &'a str)> {
    let weight = |name: &str| data.sets.iter().find(|set| set.name == name).and_then(|set| set.weight);
    let drawn: Vec<&DatasetMeta> =
        store.manifest().datasets.iter().filter(|dataset| weight(&dataset.name) != Some(0.0)).collect();
    let is_symmetric = |dataset: &DatasetMeta| is_symmetric(&dataset.name, dataset.kind.as_deref(), data);
    let prefixes_of = |dataset: &DatasetMeta| prefixes_of(&dataset.name, dataset.kind.as_deref(), data);
    let all_symmetric = drawn.iter().all(|dataset| is_symmetric(dataset));
    let queries = drawn.iter().map(|dataset| prefixes_of(dataset)[0].trim_end());
    let passages = drawn
        .iter()
        .filter(|dataset| all_symmetric || !is_symmetric(dataset))
        .map(|dataset| prefixes_of(dataset)[1].trim_end());
    Some((only(queries)?, only(passages)?))
}

/// The common value of `texts`; none if they differ or there are none.
fn only<'a>(mut texts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = texts.next()?;
    texts.all(|text| text == first).then_some(first)
}

pub(super) fn setting(dataset: &str, message: &str) -> PlanError {
    PlanError::Setting { dataset: dataset.to_owned(), message: message.to_owned() }
}
