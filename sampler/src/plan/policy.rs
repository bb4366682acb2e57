//! What the recipe asks of each data set: its own settings over the common ones, and what its rows' `type` implies.

use tercet_configs::{DataSection, DataSet, Negatives};

use super::PlanError;
use crate::{DatasetMeta, Store};

/// How a data set's rows become queries and passages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Passages per query.
    pub group_size: GroupSize,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Also contrasts each positive with all queries.
    pub two_way: bool,
}

/// Passages per query: 1 positive and the rest negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSize {
    /// Always so many; a row with fewer negatives repeats them.
    Fixed(usize),
    /// As the batch's first row has, but at most so many. For classes, where a row's negatives are all other labels.
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

/// One policy for every data set of `store`.
pub(super) fn policies(store: &Store, data: &DataSection) -> Result<Vec<Policy>, PlanError> {
    let datasets: Vec<&DatasetMeta> = (0..store.num_datasets()).map(|i| store.dataset(i)).collect();
    for (i, set) in data.sets.iter().enumerate() {
        if !datasets.iter().any(|dataset| dataset.name == set.name) {
            let known: Vec<String> = datasets.iter().map(|dataset| format!("`{}`", dataset.name)).collect();
            return Err(PlanError::UnknownDataset { name: set.name.clone(), known: known.join(", ") });
        }
        if data.sets[..i].iter().any(|earlier| earlier.name == set.name) {
            return Err(setting(&set.name, "is listed twice: merge the two entries"));
        }
    }
    datasets.iter().map(|dataset| policy(dataset, data)).collect()
}

/// The policy of one data set. The published trainer's meaning of `type`; a group size given for this very data set
/// wins over `only_1neg`.
fn policy(dataset: &DatasetMeta, data: &DataSection) -> Result<Policy, PlanError> {
    let own: Option<&DataSet> = data.sets.iter().find(|set| set.name == dataset.name);
    let own_size = own.and_then(|set| set.group_size);
    let negatives = own.and_then(|set| set.negatives).unwrap_or(data.negatives);
    let two_way = own.and_then(|set| set.two_way).unwrap_or(data.two_way);
    let size = own_size.unwrap_or(data.group_size);
    let group_size = match (negatives, dataset.kind.as_deref()) {
        (Negatives::InBatch, _) => GroupSize::Fixed(1),
        (_, Some("symmetric_class")) => GroupSize::AsRowsHave(size),
        (_, Some("only_1neg")) => GroupSize::Fixed(own_size.unwrap_or(2)),
        _ => GroupSize::Fixed(size),
    };
    if own_size == Some(0) {
        return Err(setting(&dataset.name, "group_size is 0: a group has at least its positive"));
    }
    if negatives == Negatives::Own && matches!(group_size, GroupSize::Fixed(1) | GroupSize::AsRowsHave(1)) {
        let message = "group_size is 1 with negatives = \"own\": there is nothing to contrast with";
        return Err(setting(&dataset.name, message));
    }
    if negatives == Negatives::Own && two_way {
        let message = "two_way needs in-batch negatives: set negatives to \"all\" or \"in_batch\" for it";
        return Err(setting(&dataset.name, message));
    }
    Ok(Policy { group_size, negatives, two_way })
}

fn setting(dataset: &str, message: &str) -> PlanError {
    PlanError::Setting { dataset: dataset.to_owned(), message: message.to_owned() }
}
