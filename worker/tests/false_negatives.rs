//! Masked losses against the formulas of docs/know/loss.md in plain float64, over a mask that compares token lists: a
//! passage that is known to answer a query is not among the terms of any of its sums.
//!
//! The scores are the step's own, which worker/tests/scoring_property.rs looks after; gradients are exactness.rs's
//! part. 1e-12 leaves room for another order of summation and for nothing else.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tch::{Device, Kind, Tensor};
use tercet_cluster::Solo;
use tercet_configs::{LossPreset, LossSection, Negatives, OptimizerSection, RingPrecision, Teacher};
use tercet_sampler::{Share, SpecialTokens, SubBatchLimit, TextIds, TextInput, text_id};
use tercet_worker::model::{M3Model, ModelOptions};
use tercet_worker::step::gradients;
use tercet_worker::step::inspect::Unseen;
use tercet_worker::step::outcome::Outcome;
use tercet_worker::step::settings::{Objective, StepSettings, Trainee};

/// The model's.
const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

const NUM_QUERIES: usize = 5;
const GROUP_SIZE: usize = 3;

/// Rows of texts, each text being one number: 100 + n is a query, n a passage. The first positive is the chosen one.
struct Row {
    query: i64,
    positives: &'static [i64],
    negatives: [i64; GROUP_SIZE - 1],
}

/// Queries 101 are the same, with another positive each; passage 3 is a positive that row 1 did not choose; rows 2 and
/// 3 share their positive; row 4 has its own positive among its negatives, and 21 twice, which answers nothing.
const ROWS: [Row; NUM_QUERIES] = [
    Row { query: 101, positives: &[1], negatives: [2, 20] },
    Row { query: 101, positives: &[2, 3], negatives: [4, 21] },
    Row { query: 102, positives: &[4], negatives: [3, 1] },
    Row { query: 103, positives: &[4, 22], negatives: [23, 24] },
    Row { query: 104, positives: &[5], negatives: [21, 5] },
];

fn tokens(text: i64) -> Vec<i64> {
    let words = (0..3 + text % 5).map(|i| 4 + (text * 13 + i * i * 7) % 50);
    [vec![0], words.collect(), vec![2]].concat()
}

fn id(text: i64) -> u64 {
    text_id(&tokens(text).iter().map(|&id| id as u32).collect::<Vec<_>>())
}

fn passages() -> Vec<i64> {
    ROWS.iter().flat_map(|row| [&row.positives[..1], &row.negatives].concat()).collect()
}

/// Whether `text` is known to answer `query`: in some row, the same token lists meet.
fn answers(query: i64, text: i64) -> bool {
    let same = |a: i64, b: i64| tokens(a) == tokens(b);
    ROWS.iter().any(|row| same(row.query, query) && row.positives.iter().any(|&positive| same(positive, text)))
}

fn batch(negatives: Negatives, two_way: bool) -> Share {
    let queries = || ROWS.iter().map(|row| row.query);
    Share {
        step: 0,
        texts: queries().chain(passages()).map(|text| TextInput::new(tokens(text), &SPECIAL)).collect(),
        text_ids: TextIds {
            queries: queries().map(id).collect(),
            positives: ROWS.iter().map(|row| row.positives.iter().map(|&text| id(text)).collect()).collect(),
            passages: passages().into_iter().map(id).collect(),
        },
        row_keys: Vec::new(),
        num_queries: NUM_QUERIES,
        group_size: GROUP_SIZE,
        num_global_queries: NUM_QUERIES,
        teacher_scores: Some(teacher_scores()),
        negatives,
        two_way,
    }
}

fn teacher_scores() -> Vec<f32> {
    (0..NUM_QUERIES * GROUP_SIZE).map(|i| ((i * 5) % 7) as f32 / 2.0).collect()
}

fn step(loss: &LossSection, batch: &Share, mask_false_negatives: bool) -> Outcome {
    tch::set_num_threads(1);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
    let options = ModelOptions { dropout: Some(0.0), ..Default::default() };
    let mut model = M3Model::load(&dir, &options, Device::Cpu, Kind::Double).unwrap();
    model.enable_gradients(Kind::Double);
    let settings = StepSettings {
        objective: Objective::Contrastive(LossSection { mask_false_negatives, ..loss.clone() }),
        sub_batch: SubBatchLimit { tokens: 10_000, texts: 0 },
        kept_graph_tokens: 0,
        ring_precision: RingPrecision::Full,
        seed: 5,
        optimizer: OptimizerSection::default(),
        num_steps: 1,
    };
    let trainee = Trainee { model: &model, settings: &settings };
    let outcome = gradients(&trainee, &Solo::new(), batch, &mut Unseen).unwrap();
    assert!(model.parameters.flat_grad().isfinite().all().double_value(&[]) == 1.0, "a gradient that is no number");
    outcome
}

/// One query's part of the loss: every head's scores, divided by the temperature, and which columns count.
struct Contrast {
    /// Dense, lexical, multi-vector.
    heads: [Vec<f64>; 3],
    seen: Vec<usize>,
    positive: usize,
    /// The query's own group without what is masked, and the teacher's scores of it.
    group: Vec<(usize, f64)>,
}

fn log_softmax(s: &[f64], seen: &[usize], at: usize) -> f64 {
    let largest = seen.iter().map(|&k| s[k]).fold(f64::NEG_INFINITY, f64::max);
    s[at] - largest - seen.iter().map(|&k| (s[k] - largest).exp()).sum::<f64>().ln()
}

impl Contrast {
    fn hybrid(&self, lexical_weight: f64) -> Vec<f64> {
        let [dense, lexical, multi_vector] = &self.heads;
        (0..dense.len()).map(|k| dense[k] + lexical_weight * lexical[k] + multi_vector[k]).collect()
    }

    fn hard(&self, s: &[f64], teacher: Teacher) -> f64 {
        let info_nce = -log_softmax(s, &self.seen, self.positive);
        let places: Vec<usize> = (0..self.group.len()).collect();
        let columns: Vec<usize> = self.group.iter().map(|g| g.0).collect();
        let given: Vec<f64> = self.group.iter().map(|g| g.1).collect();
        let target = |g: usize| log_softmax(&given, &places, g).exp();
        match teacher {
            Teacher::None => info_nce,
            Teacher::KlDiv => {
                info_nce - places.iter().map(|&g| target(g) * log_softmax(s, &columns, columns[g])).sum::<f64>()
            }
            Teacher::M3KdLoss => places
                .iter()
                .map(|&g| {
                    let left: Vec<usize> = self.seen.iter().copied().filter(|k| !columns[..g].contains(k)).collect();
                    -target(g) * log_softmax(s, &left, columns[g])
                })
                .sum(),
        }
    }

    fn soft(&self, s: &[f64], hybrid: &[f64]) -> f64 {
        let part = |&k: &usize| log_softmax(hybrid, &self.seen, k).exp() * log_softmax(s, &self.seen, k);
        -self.seen.iter().map(part).sum::<f64>()
    }

    fn loss(&self, section: &LossSection) -> f64 {
        let paper = section.preset == LossPreset::PaperV1;
        let (lambda, hybrid) = if paper { (1.0, self.hybrid(1.0)) } else { (0.1, self.hybrid(0.3)) };
        let weights = [1.0, lambda, 1.0];
        let sum = |f: &dyn Fn(&[f64]) -> f64| self.heads.iter().zip(weights).map(|(s, w)| w * f(s)).sum::<f64>();
        let heads = sum(&|s| self.hard(s, section.teacher));
        let hard = if paper { heads } else { (heads + self.hard(&hybrid, section.teacher)) / 4.0 };
        match (section.distill, paper) {
            (false, _) => hard,
            (true, true) => hard + sum(&|s| self.soft(s, &hybrid)) / 3.0,
            (true, false) => (hard + sum(&|s| self.soft(s, &hybrid)) / 3.0) / 2.0,
        }
    }
}

/// Rows, columns and what they are contrasted by, of one direction.
fn direction(
    scores: [&Tensor; 3],
    temperature: f64,
    counts: impl Fn(usize, usize) -> bool,
    positive: impl Fn(usize) -> usize,
    group: impl Fn(usize) -> Vec<(usize, f64)>,
) -> Vec<Contrast> {
    let matrices = scores.map(|s| Vec::<Vec<f64>>::try_from(s / temperature).unwrap());
    let row = |i: usize| Contrast {
        heads: [0, 1, 2].map(|head: usize| matrices[head][i].clone()),
        seen: (0..matrices[0][i].len()).filter(|&k| k == positive(i) || counts(i, k)).collect(),
        positive: positive(i),
        group: group(i).into_iter().filter(|&(k, _)| k == positive(i) || counts(i, k)).collect(),
    };
    (0..NUM_QUERIES).map(row).collect()
}

fn mean_loss(rows: &[Contrast], section: &LossSection) -> f64 {
    rows.iter().map(|row| row.loss(section)).sum::<f64>() / rows.len() as f64
}

#[test]
fn masked_losses_are_the_formulas_over_what_is_left() {
    let loss = |preset, teacher, distill| LossSection { preset, teacher, distill, ..Default::default() };
    let unified = |teacher, distill| loss(LossPreset::Unified, teacher, distill);
    for (name, section, negatives, two_way) in [
        ("unified", unified(Teacher::None, true), Negatives::All, false),
        ("paper-v1", loss(LossPreset::PaperV1, Teacher::None, true), Negatives::All, false),
        ("own", unified(Teacher::None, true), Negatives::Own, false),
        ("kl_div", unified(Teacher::KlDiv, false), Negatives::All, false),
        ("m3_kd_loss", unified(Teacher::M3KdLoss, true), Negatives::All, false),
        ("own, m3_kd_loss", unified(Teacher::M3KdLoss, false), Negatives::Own, false),
        ("two-way", unified(Teacher::KlDiv, true), Negatives::All, true),
    ] {
        let batch = batch(negatives, two_way);
        let outcome = step(&section, &batch, true);
        let scores = &outcome.contrasted().scores;
        let scores = [&scores.dense, scores.lexical.as_ref().unwrap(), scores.multi_vector.as_ref().unwrap()];

        let passages = passages();
        let own = |i: usize, k: usize| k / GROUP_SIZE == i;
        let may = |i: usize, k: usize| negatives != Negatives::Own || own(i, k);
        let known = |i: usize, k: usize| answers(ROWS[i].query, passages[k]);
        let given = teacher_scores();
        let group = |i: usize| (i * GROUP_SIZE..(i + 1) * GROUP_SIZE).map(|k| (k, f64::from(given[k]))).collect();
        let positive = |i: usize| i * GROUP_SIZE;
        let rows = direction(scores, section.temperature, |i, k| may(i, k) && !known(i, k), positive, group);
        let mut expected = mean_loss(&rows, &section);
        if two_way {
            let positives = Tensor::arange_start_step(0, 15, GROUP_SIZE as i64, (Kind::Int64, Device::Cpu));
            let transposed = scores.map(|s| s.index_select(1, &positives).tr());
            let counts = |i: usize, k: usize| !answers(ROWS[k].query, ROWS[i].positives[0]);
            let transposed = [&transposed[0], &transposed[1], &transposed[2]];
            let rows = direction(transposed, section.temperature, counts, |i| i, |_| Vec::new());
            expected = (expected + mean_loss(&rows, &LossSection { teacher: Teacher::None, ..section.clone() })) / 2.0;
        }
        let error = (outcome.loss - expected).abs() / expected;
        assert!(error <= 1e-12, "{name}: {} for {expected}, off by {error:e}", outcome.loss);

        let pairs = (0..NUM_QUERIES).flat_map(|i| (0..passages.len()).map(move |k| (i, k)));
        let masked = pairs.filter(|&(i, k)| k != positive(i) && may(i, k) && known(i, k)).count();
        assert_eq!(outcome.contrasted().num_false_negatives, masked, "{name}");
        assert!(masked > 1, "{name}: nothing to mask");
        let unmasked = step(&section, &batch, false);
        assert_eq!(unmasked.contrasted().num_false_negatives, 0);
        assert!((unmasked.loss - expected).abs() > 1e-3 * expected, "{name}: the mask makes no difference");
    }
}

/// A query whose only other passages are known answers: nothing is left to contrast with, and nothing to learn.
#[test]
fn a_query_without_true_negatives_has_no_loss() {
    let text = |n: i64| TextInput::new(tokens(n), &SPECIAL);
    let batch = Share {
        texts: vec![text(101), text(102), text(1), text(1)],
        text_ids: TextIds {
            queries: vec![id(101), id(102)],
            positives: vec![vec![id(1)]; 2],
            passages: vec![id(1); 2],
        },
        num_queries: 2,
        group_size: 1,
        num_global_queries: 2,
        teacher_scores: None,
        ..batch(Negatives::InBatch, true)
    };
    let outcome = step(&LossSection::default(), &batch, true);
    assert_eq!((outcome.loss, outcome.contrasted().num_false_negatives), (0.0, 2));
}
