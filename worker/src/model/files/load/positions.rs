//! Positions beyond those that a model has learned. The learned ones keep their rows and their bits, so texts that the
//! model could read before mean what they meant.
//!
//! Legend: n learned positions of texts, d hidden size, first the table's row of a text's first position.

use tch::{Device, Kind, Tensor};
use tercet_configs::{EncoderConfig, Positions};

use crate::model::{ModelError, ModelOptions};

/// Refuses more hierarchical positions than the learned ones make, which is the square of their number.
///
/// # Errors
/// [`ModelError::Setting`] with the numbers and what to ask for instead.
pub(super) fn check_number(
    config: &EncoderConfig,
    learned_positions: usize,
    options: &ModelOptions,
) -> Result<(), ModelError> {
    let first = config.first_position();
    let learned = learned_positions.saturating_sub(first);
    let most = first.saturating_add(learned.saturating_mul(learned));
    let wanted = config.max_position_embeddings;
    if options.positions != Positions::Hierarchical || wanted <= most.max(learned_positions) {
        return Ok(());
    }
    Err(ModelError::Setting(format!(
        "model.max_position_embeddings is {wanted}, but positions = \"hierarchical\" makes {learned}² of the model's \
         {learned} learned ones: ask for {most} at most, or set model.positions to \"repeat\" or \"fresh\""
    )))
}

/// The table `learned` `[first + n, d]` with as many rows as `config` says, float64 on the CPU. What is drawn afresh
/// comes from libtorch's generator as it stands.
pub(super) fn extend(learned: &Tensor, config: &EncoderConfig, options: &ModelOptions) -> Tensor {
    let learned = learned.to_device(Device::Cpu).to_kind(Kind::Double);
    let first = config.first_position() as i64;
    let own = learned.narrow(0, first, learned.size()[0] - first); // [n, d]
    let n = own.size()[0];
    let new = Tensor::arange_start(n, config.max_position_embeddings as i64 - first, (Kind::Int64, Device::Cpu));
    let nth = new.remainder(n);
    let added = match options.positions {
        Positions::Repeat => own.index_select(0, &nth),
        Positions::Hierarchical => {
            let alpha = options.positions_alpha;
            let parts = (&own - own.narrow(0, 0, 1) * alpha) / (1.0 - alpha);
            let coarse = parts.index_select(0, &new.divide_scalar_mode(n, "floor"));
            coarse * alpha + parts.index_select(0, &nth) * (1.0 - alpha)
        }
        Positions::Fresh => {
            // In the type that fresh tables are drawn in, whatever the run computes in.
            let shape = [new.size()[0], own.size()[1]];
            Tensor::empty(shape, (Kind::Float, Device::Cpu)).normal_(0.0, config.initializer_range)
        }
    };
    Tensor::cat(&[learned, added.to_kind(Kind::Double)], 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};

    use tercet_sampler::{SubBatchLimit, TextInput};

    use super::*;
    use crate::model::M3Model;
    use crate::model::representation::Heads;
    use crate::model::sub_batch::SubBatches;

    const TABLE: &str = "embeddings.position_embeddings.weight";

    fn golden(relative: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(relative)
    }

    fn options(positions: Positions, wanted: usize) -> ModelOptions {
        let (max_position_embeddings, normalize) = (wanted, Some(false));
        ModelOptions { positions, max_position_embeddings, normalize, ..Default::default() }
    }

    /// A model of 64 learned positions: `nano_xlmr_mae`, whose first is row 2, or `nano_bert_mae`.
    fn load(nano: &str, options: &ModelOptions, kind: Kind) -> M3Model {
        M3Model::load(&golden(nano).join("hf"), options, Device::Cpu, kind).unwrap()
    }

    /// The hidden states `[T, d]` of `texts` side by side, without padding.
    fn hidden(model: &M3Model, texts: &[Vec<i64>]) -> Tensor {
        let texts: Vec<TextInput> = texts.iter().map(|ids| TextInput::new(ids.clone(), &model.special)).collect();
        let limit = SubBatchLimit { tokens: 10_000, texts: 0 };
        let sub_batches = SubBatches::new(&texts, limit, model.framing(), Heads::ALL);
        let hidden: Vec<Tensor> =
            sub_batches.iter().map(|texts| model.encode(&texts, Heads::ALL, None, false).0).collect();
        Tensor::cat(&hidden, 0)
    }

    /// tests/golden/nano_xlmr_mae/README.md says how the numbers were recorded. The tolerance is float64's rounding.
    #[test]
    fn hierarchical_positions_are_the_formulas() {
        let recorded = Tensor::read_safetensors(golden("nano_xlmr_mae/positions/tensors.safetensors")).unwrap();
        let recorded: HashMap<String, Tensor> = recorded.into_iter().collect();
        let model = load("nano_xlmr_mae", &options(Positions::Hierarchical, 258), Kind::Double);
        let table = model.parameters.leaf(TABLE);
        assert_eq!(table.narrow(0, 0, 66), recorded["input"], "the learned rows keep their bits");
        let gap = (&table - &recorded["output"]).abs().max().double_value(&[]);
        assert!(gap < 1e-14, "{gap:e}");
        let text = Vec::<Vec<i64>>::try_from(&recorded["long.enc.input_ids"]).unwrap();
        assert_eq!(text[0].len(), 150);
        let gap = (hidden(&model, &text).get(0) - recorded["long.enc.cls"].get(0)).abs().max().double_value(&[]);
        assert!(gap < 1e-12, "{gap:e}");

        let single = load("nano_xlmr_mae", &options(Positions::Hierarchical, 258), Kind::Float).parameters.leaf(TABLE);
        assert_eq!(single, table.to_kind(Kind::Float), "rounded once");
    }

    #[test]
    fn berts_positions_are_counted_from_the_first_row() {
        let rows = |wanted, alpha| {
            let options = ModelOptions { positions_alpha: alpha, ..options(Positions::Hierarchical, wanted) };
            Vec::<Vec<f64>>::try_from(load("nano_bert_mae", &options, Kind::Double).parameters.leaf(TABLE)).unwrap()
        };
        let learned = rows(0, 0.4);
        for alpha in [0.4, 0.7] {
            let u = |i: usize, c: usize| (learned[i][c] - alpha * learned[0][c]) / (1.0 - alpha);
            for (k, row) in rows(256, alpha).iter().enumerate() {
                for (c, value) in row.iter().enumerate() {
                    let expected = alpha * u(k / 64, c) + (1.0 - alpha) * u(k % 64, c);
                    assert!((value - expected).abs() < 1e-14, "position {k}: {value} for {expected}");
                }
            }
        }
    }

    #[test]
    fn texts_that_fitted_before_have_the_same_hidden_states() {
        let texts: Vec<Vec<i64>> = [64, 3, 40].map(|len| (0..len).map(|i| 4 + i % 90).collect()).into();
        let before = hidden(&load("nano_xlmr_mae", &options(Positions::Repeat, 0), Kind::Float), &texts);
        for positions in [Positions::Hierarchical, Positions::Repeat, Positions::Fresh] {
            let after = hidden(&load("nano_xlmr_mae", &options(positions, 258), Kind::Float), &texts);
            assert_eq!(after, before, "{positions:?}");
        }
    }

    #[test]
    fn positions_are_added_once() {
        for positions in [Positions::Hierarchical, Positions::Repeat, Positions::Fresh] {
            let options = options(positions, 258);
            let model = load("nano_xlmr_mae", &options, Kind::Float);
            let saved = tempfile::tempdir().unwrap();
            model.save(saved.path()).unwrap();
            let again = M3Model::load(saved.path(), &options, Device::Cpu, Kind::Float).unwrap();
            assert_eq!(again.parameters.flat, model.parameters.flat, "{positions:?}");
        }
    }

    #[test]
    fn repeated_positions_are_the_learned_ones_again() {
        let model = load("nano_xlmr_mae", &options(Positions::Repeat, 200), Kind::Float);
        let table = model.parameters.leaf(TABLE);
        assert_eq!(model.config.max_text_len(), 198);
        for k in 64..198 {
            assert_eq!(table.get(2 + k), table.get(2 + k % 64), "position {k}");
        }
    }

    #[test]
    fn fresh_positions_are_the_seeds() {
        let of =
            |positions, seed| load("nano_xlmr_mae", &ModelOptions { seed, ..options(positions, 2_000) }, Kind::Float);
        let (one, other, repeated) = (of(Positions::Fresh, 1), of(Positions::Fresh, 2), of(Positions::Repeat, 1));
        assert_eq!(of(Positions::Fresh, 1).parameters.flat, one.parameters.flat);
        let drawn = |model: &M3Model| model.parameters.leaf(TABLE).narrow(0, 66, 1_934);
        assert_ne!(drawn(&one), drawn(&other));
        // The standard deviation of 62,000 numbers is config.json's to 0.3 %.
        let (mean, deviation) = (drawn(&one).mean(Kind::Double), drawn(&one).std(true));
        assert!(mean.double_value(&[]).abs() < 5e-4 && (deviation.double_value(&[]) - 0.02).abs() < 5e-4);
        for head in ["colbert_linear.weight", "sparse_linear.weight"] {
            assert_eq!(one.parameters.leaf(head), repeated.parameters.leaf(head), "{head}");
        }
    }

    #[test]
    fn there_are_as_many_hierarchical_positions_as_pairs() {
        load("nano_xlmr_mae", &options(Positions::Hierarchical, 2 + 64 * 64), Kind::Float);
        let too_many = options(Positions::Hierarchical, 2 + 64 * 64 + 1);
        let hf = golden("nano_xlmr_mae/hf");
        let message = M3Model::load(&hf, &too_many, Device::Cpu, Kind::Float).err().unwrap().to_string();
        assert!(message.contains("max_position_embeddings is 4099") && message.contains("ask for 4098"), "{message}");
        load("nano_xlmr_mae", &ModelOptions { positions: Positions::Repeat, ..too_many }, Kind::Float);
    }
}
