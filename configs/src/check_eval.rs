//! Checks of `[eval]`, and of the figure by which it keeps checkpoints. The folders themselves are not looked at.

use crate::recipe::{EvalSection, LossPreset, Recipe};

/// The first key that cannot be used, and why.
pub(crate) fn check_eval(recipe: &Recipe) -> Result<(), (&'static str, String)> {
    let (eval, preset) = (&recipe.eval, recipe.loss.preset);
    if !eval.data.is_empty() {
        if preset.is_pretraining() {
            let message = "has no meaning in pre-training, which trains no head to retrieve with: leave it out, and \
                           judge the stage after it";
            return Err(("eval.data", message.into()));
        }
        if eval.split.is_empty() || eval.split.contains('/') {
            return Err((
                "eval.split",
                format!("is {:?}: the name of a file of judgments is expected, without .tsv", eval.split),
            ));
        }
        if eval.metrics.is_empty() {
            return Err(("eval.metrics", "is empty: name a figure, such as \"ndcg@10\"".into()));
        }
    }
    for (key, len) in [("eval.query_max_len", eval.query_max_len), ("eval.passage_max_len", eval.passage_max_len)] {
        if matches!(len, 1 | 2) {
            return Err((key, format!("is {len}: at least 3 are expected, two of them special ones, or 0")));
        }
    }
    match &recipe.checkpoint.keep_best {
        Some(figure) => check_figure(figure, eval, preset).map_err(|message| ("checkpoint.keep_best", message)),
        None if eval.early_stop > 0 => {
            let message = "goes by the figure of checkpoint.keep_best, which is not given: name one, such as \
                           \"mean/dense/ndcg@10\"";
            Err(("eval.early_stop", message.into()))
        }
        None => Ok(()),
    }
}

/// Why evaluations give no such figure.
fn check_figure(figure: &str, eval: &EvalSection, preset: LossPreset) -> Result<(), String> {
    if eval.data.is_empty() {
        return Err("is given without data sets to judge by: name some in eval.data".into());
    }
    let Some([_, ranking, metric]) = EvalSection::parts(figure) else {
        return Err(format!(
            "is {figure:?}: expected DATA SET/RANKING/METRIC, such as \"mean/dense/ndcg@10\" (mean: over all data sets)"
        ));
    };
    let rankings = EvalSection::rankings(preset);
    if !rankings.contains(&ranking) {
        return Err(format!("is {figure:?}: there is no ranking {ranking:?}; there are {}", rankings.join(", ")));
    }
    let metrics: Vec<String> = eval.metrics.iter().map(ToString::to_string).collect();
    match metrics.iter().any(|own| own == metric) {
        true => Ok(()),
        false => Err(format!("is {figure:?}: {metric:?} is not in eval.metrics, which are {}", metrics.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::recipe::Recipe;

    fn told(settings: &[&str]) -> String {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Recipe::parse("name = \"t\"", Path::new("t.toml"), &settings)
            .map_or_else(|error| error.to_string(), |_| "".into())
    }

    #[test]
    fn a_figure_is_one_that_evaluations_give() {
        let data = "eval.data=[\"a\", \"b\"]";
        for good in ["mean/dense/ndcg@10", "a/all/mrr@10", "b/multi_vector/recall@100"] {
            assert_eq!(told(&[data, &format!("checkpoint.keep_best={good}")]), "");
        }
        for (figure, reason) in [
            ("ndcg@10", "expected DATA SET/RANKING/METRIC"),
            ("a/b/dense/ndcg@10", "expected DATA SET/RANKING/METRIC"),
            ("mean/bm25/ndcg@10", "no ranking \"bm25\"; there are dense, lexical"),
            ("mean/dense/ndcg@5", "not in eval.metrics, which are ndcg@10, recall@100, mrr@10"),
        ] {
            let message = told(&[data, &format!("checkpoint.keep_best={figure}")]);
            assert!(message.contains("checkpoint.keep_best: is") && message.contains(reason), "{message}");
        }
        assert!(told(&["checkpoint.keep_best=mean/dense/ndcg@10"]).contains("name some in eval.data"));
        let other_metrics = ["eval.metrics=[\"ndcg@5\"]", "checkpoint.keep_best=mean/dense/ndcg@5"];
        assert_eq!(told(&[&[data], &other_metrics[..]].concat()), "");
        let dense = told(&["loss.preset=dense", data, "checkpoint.keep_best=mean/lexical/ndcg@10"]);
        assert!(dense.contains("there are dense"), "{dense}");
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_by_its_key() {
        let data = "eval.data=[\"a\"]";
        for (settings, key) in [
            (&[data, "loss.preset=retromae"][..], "eval.data: has no meaning in pre-training"),
            (&[data, "eval.metrics=[]"], "eval.metrics: is empty"),
            (&[data, "eval.metrics=[\"dcg@10\"]"], "there is no figure \"dcg\""),
            (&[data, "eval.split=qrels/dev"], "eval.split: is"),
            (&[data, "eval.early_stop=3"], "eval.early_stop: goes by the figure of checkpoint.keep_best"),
            (&["eval.query_max_len=2"], "eval.query_max_len: is 2"),
        ] {
            let message = told(settings);
            assert!(message.contains(key), "{message}");
        }
    }
}
