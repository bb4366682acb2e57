//! Why questions lack that no further request can bring.

use super::documents::ready;
use super::plan::Stand;
use super::recipe::Recipe;

/// The reason, in words. None: no question lacks, or requests are still to be answered.
pub fn why(stand: &Stand<'_>, recipe: &Recipe) -> Option<String> {
    let (lacking, language) = (stand.lacking.iter().sum::<u64>(), stand.language);
    if lacking == 0 || stand.open > 0 {
        return None;
    }
    let taken = language.documents.len();
    let reason = if language.read == 0 {
        "no document is of this language".to_owned()
    } else if taken < ready(recipe.questions.of(&language.name)) {
        format!(
            "of {} documents {} are too short and {} too long, and each of the {taken} others has been asked about \
             (other documents, [lengths] or checks.attempts may bring more)",
            language.read, language.too_short, language.too_long
        )
    } else {
        format!(
            "each of the {} documents that were set aside for them, two for each question, has been asked about \
             (refused.jsonl says why answers did not pass)",
            stand.asked
        )
    };
    Some(format!("{lacking} questions lack: {reason}"))
}
