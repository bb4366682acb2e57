//! A row's `type`: the ones that published trainers know, and what is nearly one of them.
//!
//! A type that nobody knows trains as any pair does, so a slip in one that trains otherwise would change the run in
//! silence.

/// The types of FlagEmbedding's trainers and of the data that is published for them.
const KNOWN: [&str; 6] =
    ["normal", "retrieval", "only_1neg", "symmetric_class", "symmetric_clustering", "symmetric_sts"];

/// The beginning of types whose passages take the query's prefix.
const SYMMETRIC: &str = "symmetric";

/// How many slips of the pen a type is still recognised by.
const MAX_SLIPS: usize = 2;

/// The fewest letters of a type by which it is recognised as a part of another.
const MIN_PART: usize = 3;

/// Whether rows of this type are symmetric: their passages take the query's prefix.
pub(crate) fn is_symmetric(kind: &str) -> bool {
    kind.starts_with(SYMMETRIC)
}

/// What training does for rows of this type: groups of two, groups as large as the rows have negatives, prefixes of
/// queries on both sides.
fn effect(kind: &str) -> [bool; 3] {
    [kind == "only_1neg", kind == "symmetric_class", is_symmetric(kind)]
}

/// Whether rows of this type train otherwise than rows without one.
pub(crate) fn changes_training(kind: &str) -> bool {
    effect(kind) != [false; 3]
}

/// Checks that `kind` is no slip of the pen for a type that trains otherwise.
///
/// # Errors
/// It is; the error is the reason alone.
pub(super) fn check(kind: &str) -> Result<(), String> {
    let is_other = |known: &&&str| slips(kind, known) <= MAX_SLIPS && effect(kind) != effect(known);
    match KNOWN.iter().find(is_other).filter(|_| !is_known(kind)) {
        Some(known) => Err(format!(
            "\"type\" is {kind:?}, which is not known: perhaps {known:?} is what is meant, by which rows train otherwise: \
             correct it, or take it out"
        )),
        None => Ok(()),
    }
}

/// What to say of a type that is not known, after "the type …".
pub fn unknown(kind: &str) -> Option<String> {
    if is_known(kind) {
        return None;
    }
    let as_what =
        if is_symmetric(kind) { "it trains as \"symmetric_sts\" does" } else { "it trains as \"normal\" does" };
    Some(match nearest(kind) {
        Some(known) => format!("which is not known, and {as_what}: perhaps {known:?} is what is meant"),
        None => format!("which is not known, and {as_what}; known are {}", KNOWN.join(", ")),
    })
}

fn is_known(kind: &str) -> bool {
    kind.is_empty() || KNOWN.contains(&kind)
}

fn nearest(kind: &str) -> Option<&'static str> {
    let near = KNOWN.into_iter().map(|known| (slips(kind, known), known)).min().filter(|near| near.0 <= MAX_SLIPS);
    let word = letters(kind);
    let word = word.strip_prefix(SYMMETRIC).unwrap_or(&word);
    let is_part = |known: &&str| {
        let rest = known.strip_prefix("symmetric_").unwrap_or(known);
        word.len() >= MIN_PART && (rest.starts_with(word) || word.starts_with(rest))
    };
    near.map(|near| near.1).or_else(|| KNOWN.into_iter().find(is_part))
}

fn slips(kind: &str, known: &str) -> usize {
    strsim::osa_distance(&letters(kind), &letters(known))
}

fn letters(kind: &str) -> String {
    kind.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_that_trains_otherwise_is_refused() {
        for (kind, known) in [
            ("only_1negs", "only_1neg"),
            ("only1neg", "only_1neg"),
            ("Only_1neg", "only_1neg"),
            ("symmetric_clas", "symmetric_class"),
            ("symmetric-class", "symmetric_class"),
            ("symetric_sts", "symmetric_sts"),
            (" symmetric_sts", "symmetric_sts"),
            ("Symmetric_Clustering", "symmetric_clustering"),
        ] {
            let reason = check(kind).unwrap_err();
            assert!(
                reason.starts_with(&format!("\"type\" is {kind:?}, which is not known: perhaps {known:?}")),
                "{reason}"
            );
        }
        for kind in KNOWN.into_iter().chain(["", "norml", "clustering", "symmetric_st", "no_such", "classification"]) {
            assert_eq!(check(kind), Ok(()), "{kind}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_with_what_is_nearest() {
        for (kind, known) in [
            (" retrieval ", "retrieval"),
            ("Normal", "normal"),
            ("clustering", "symmetric_clustering"),
            ("classification", "symmetric_class"),
            ("sts", "symmetric_sts"),
            ("symmetric_st", "symmetric_sts"),
        ] {
            let said = unknown(kind).unwrap();
            assert!(said.ends_with(&format!("perhaps {known:?} is what is meant")), "{kind}: {said}");
        }
        let said = unknown("no_such").unwrap();
        assert!(said.ends_with("trains as \"normal\" does; known are normal, retrieval, only_1neg, symmetric_class, symmetric_clustering, symmetric_sts"), "{said}");
        assert!(unknown("symmetric_qa").unwrap().contains("trains as \"symmetric_sts\" does"));
        assert!(KNOWN.into_iter().chain([""]).all(|kind| unknown(kind).is_none()));
    }
}
