//! What it will take, before anything is sent.

use super::caps::{Caps, Used};
use super::journal::Ledger;
use super::lacking;
use super::pace::Pace;
use super::plan::{Plan, Stand, Wanted};
use super::recipe::Recipe;
use crate::error::CurateError;

/// The least number of requests, and what they can cost.
///
/// # Errors
/// The operating system's.
pub fn priced(
    recipe: &Recipe,
    plan: &Plan<'_>,
    (stands, wanted): (&[Stand<'_>], &[Wanted]),
    unit: &str,
    ledger: &Ledger,
) -> Result<String, CurateError> {
    let caps: &Caps = &recipe.caps;
    let mut said = Vec::new();
    for stand in stands {
        let (language, lacking) = (stand.language, stand.lacking.iter().sum::<u64>());
        let line = format!(
            "{}: {} documents, {} too short and {} too long (in {unit}), {} taken; {lacking} questions wanted",
            language.name,
            language.read,
            language.too_short,
            language.too_long,
            language.documents.len(),
        );
        said.push(match lacking::why(stand, recipe) {
            Some(why) => format!("{line}; {why}"),
            None => line,
        });
    }
    let (mut most, mut about_in) = (Used::default(), 0);
    for one in wanted {
        let request = plan.request(one)?;
        most = most.plus(request.most);
        about_in += request.about_in;
    }
    let count = most.requests;
    let about = Used { requests: count, tokens_in: about_in, tokens_out: most.tokens_out };
    said.push(format!("requests: {count}, if each answer passes"));
    said.push(format!(
        "tokens in: about {about_in}, at most {}; tokens out: at most {}",
        most.tokens_in, most.tokens_out
    ));
    said.push(match (caps.cost(about), caps.cost(most)) {
        (Some(about), Some(most)) => format!("cost: about {about}, at most {most}"),
        _ => caps.cost_in_words(most),
    });
    let all = plan.most_requests();
    let scaled = |tokens: u64| (u128::from(tokens) * u128::from(all) / u128::from(count.max(1))) as u64;
    let worst = Used { requests: all, tokens_in: scaled(about_in), tokens_out: scaled(most.tokens_out) };
    said.push(format!(
        "if no answer passes: {all} requests, about {} tokens, {}",
        worst.tokens(),
        caps.cost_in_words(worst)
    ));
    let used = ledger.used();
    if used.requests > 0 {
        let (requests, tokens, cost) = (used.requests, used.tokens(), caps.cost_in_words(used));
        said.push(format!("used so far: {requests} requests, {tokens} tokens, {cost}"));
    }
    if let Some(cap) = caps.beyond(ledger.used_with(most)) {
        said.push(format!("{cap} may be reached before"));
    }
    let llm = &recipe.llm;
    let least = Pace::new(llm.requests_per_minute, llm.tokens_per_minute).least(count, about.tokens());
    said.push(match least.is_zero() {
        true => format!("time: as the server answers, {} requests at a time", llm.concurrency),
        false => format!("time: at least {} minutes at the given rates", least.as_secs().div_ceil(60)),
    });
    Ok(said.join("\n"))
}
