//! `step`: one step on given rows, without updating anything: what people compare trainers with.
//!
//! The rows are dealt to the ranks contiguously, so that the score matrices' rows are in the given order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tch::Tensor;
use tercet_cluster::{Collective, ReduceOp, gather_counts};
use tercet_configs::{Head, Recipe, Teacher};
use tercet_protocol::args::StepArgs;
use tercet_protocol::says::{self, step};
use tercet_sampler::{Share, TextInput, contiguous_share};

use super::given_batch::GivenBatch;
use super::given_texts::GivenTexts;
use crate::agreement::{compute_kind_of, kind_of, precision, same_weights};
use crate::files::CommandError;
use crate::machine::device::device_of;
use crate::model::{M3Model, ModelOptions, Purpose};
use crate::step::contrastive::loss::hybrid;
use crate::step::gradients;
use crate::step::inspect::Unseen;
use crate::step::outcome::{Outcome, Told};
use crate::step::pretraining::masks::Masks;
use crate::step::settings::{Objective, StepSettings, Trainee};
use crate::tensors::exchange::all_gather_rows;

/// Computes one step and prints its figures as one JSON object (rank 0). Every rank calls it.
///
/// # Errors
/// Input that cannot be used, or a collective that failed.
pub fn run(args: &StepArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let mut recipe = args.recipe.load()?;
    precision::decide(&mut recipe, false, ranks)?;
    let options = ModelOptions::of(&recipe);
    let mut model = M3Model::load(&args.model, &options, device_of(ranks), kind_of(recipe.precision))?;
    same_weights::check(ranks, &model.parameters.flat, format_args!("as {} has them", args.model.display()))?;
    if ranks.rank() == 0 {
        model.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    }
    model.enable_gradients(compute_kind_of(recipe.precision));
    let mut settings = StepSettings::of(&recipe);
    let own = match (&args.rows, &args.tokens) {
        (Some(_), _) if recipe.loss.preset.is_pretraining() => {
            let message = "--rows takes queries with passages: give --tokens with masks for pre-training";
            return Err(CommandError::Usage(message.into()).into());
        }
        (None, Some(path)) if recipe.loss.preset.is_pretraining() => {
            let with_decoder = model.purpose() == Purpose::Pretraining { decoder: true };
            let given = GivenTexts::read(path, with_decoder)?;
            check_texts(given.texts.iter(), given.texts.len(), &model, ranks.world_size())?;
            let share = given.share(contiguous_share(given.texts.len(), ranks.rank(), ranks.world_size()));
            settings.objective = Objective::Pretraining(recipe.pretrain.clone(), Masks::Given(Arc::new(given.masks)));
            share
        }
        (Some(path), _) => {
            let tokenizer = model.tokenizer_folder();
            let batch = GivenBatch::read_rows(path, args.dataset.as_deref(), tokenizer, &recipe, ranks)?;
            own_part(&batch, &model, &recipe, ranks)?
        }
        (None, Some(path)) => {
            own_part(&GivenBatch::read_tokens(path, &recipe, &model.special)?, &model, &recipe, ranks)?
        }
        (None, None) => return Err(CommandError::Usage("give --rows or --tokens".into()).into()),
    };
    // The report has every weight's gradient.
    settings.optimizer.shard_state = false;
    let outcome = gradients(&Trainee { model: &model, settings: &settings }, ranks, &own, &mut Unseen)?;
    let report = report(&model, &outcome, &recipe, own.num_queries, ranks)?;
    if ranks.rank() == 0 {
        println!("{}", says::line(&report));
    }
    Ok(())
}

/// This rank's queries of a batch, and their passages.
fn own_part(batch: &GivenBatch, model: &M3Model, recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<Share> {
    check_texts(batch.queries.iter().chain(&batch.passages), batch.queries.len(), model, ranks.world_size())?;
    if recipe.loss.teacher != Teacher::None && batch.teacher_scores.is_none() {
        return Err(CommandError::Usage(
            "loss.teacher needs teacher scores: pos_scores and neg_scores in every row, or teacher_scores [Q, G] beside \
             the tokens"
                .into(),
        )
        .into());
    }
    Ok(batch.share(contiguous_share(batch.queries.len(), ranks.rank(), ranks.world_size())))
}

/// Whether the model can take the texts of `rows` rows, and every rank gets one.
fn check_texts<'a>(
    texts: impl Iterator<Item = &'a TextInput> + Clone,
    rows: usize,
    model: &M3Model,
    world_size: usize,
) -> anyhow::Result<()> {
    let longest = texts.clone().map(|text| text.ids.len()).max().unwrap_or(0);
    model.check_lengths(longest, texts.flat_map(|text| &text.ids).copied().max().unwrap_or(0))?;
    if rows < world_size {
        return Err(
            CommandError::Usage(format!("{rows} rows for {world_size} ranks: give at least one row per rank")).into()
        );
    }
    Ok(())
}

/// The 2-norm of all numbers, added up in 64 bits on any device, so that it can be compared with another one's.
fn norm(numbers: &Tensor) -> f64 {
    const AT_A_TIME: i64 = 1 << 20;
    let square = |part: &Tensor| part.to_kind(tch::Kind::Double).norm().double_value(&[]).powi(2);
    numbers.flatten(0, -1).split(AT_A_TIME, 0).iter().map(square).sum::<f64>().sqrt()
}

fn report(
    model: &M3Model,
    outcome: &Outcome,
    recipe: &Recipe,
    num_queries: usize,
    ranks: &dyn Collective,
) -> anyhow::Result<step::Report> {
    let norm = |gradient: &Tensor| Some(norm(gradient));
    let trained = model.parameters.named_grads().filter(|(name, _)| !name.starts_with("pooler."));
    let contrasted = match &outcome.told {
        Told::Contrastive(contrasted) => contrasted,
        Told::Pretraining(predicted) => {
            // As the files of pre-trained models name them.
            let name = |own: &str| model.config.masked_lm_name(own);
            return Ok(step::Report {
                loss: Some(outcome.loss),
                terms: outcome.terms(),
                counts: predicted.counts(),
                param_grad_norm: trained.map(|(own, gradient)| (name(own), norm(&gradient))).collect(),
                total_grad_norm: norm(&model.parameters.flat_grad()),
                world_size: ranks.world_size(),
                ..step::Report::default()
            });
        }
    };
    let counts = gather_counts(ranks, num_queries)?;
    let tempered = contrasted.scores.as_ref().map(|s| s / recipe.loss.temperature);
    let hybrid = hybrid(&recipe.loss, &tempered);
    let mut scores = BTreeMap::new();
    let of_heads = Head::ALL.into_iter().filter_map(|head| Some((head.name(), tempered.get(head)?)));
    for (name, matrix) in of_heads.chain(hybrid.as_ref().map(|hybrid| ("hybrid", hybrid))) {
        let all = all_gather_rows(ranks, matrix, &counts)?.to_kind(tch::Kind::Double);
        let rows = Vec::<Vec<f64>>::try_from(&all)?.into_iter();
        scores.insert(name.to_owned(), rows.map(|row| row.into_iter().map(Some).collect()).collect());
    }
    let mut false_negatives = [contrasted.num_false_negatives as i64];
    ranks.all_reduce(false_negatives.as_mut_slice().into(), ReduceOp::Sum)?;
    Ok(step::Report {
        loss: Some(outcome.loss),
        terms: outcome.terms(),
        scores,
        false_negatives: false_negatives[0],
        param_grad_norm: trained.map(|(name, gradient)| (name.to_owned(), norm(&gradient))).collect(),
        total_grad_norm: norm(&model.parameters.flat_grad()),
        world_size: ranks.world_size(),
        ..step::Report::default()
    })
}
