//! Ring scoring against the plain formulas over full tensors, differentiated by autograd: scores and gradients of
//! random ragged representations, some of them empty, some texts and vectors repeated, some spread over several tiles.
//!
//! One rank; that several give the same is tests/tests/ranks_agree.rs's part. Float64: 1e-12 leaves room for another
//! order of summation of a few thousand numbers and for nothing else.

#![allow(clippy::unwrap_used)]

use std::sync::MutexGuard;

use tch::{Device, Kind, Tensor};
use tercet_cluster::Solo;
use tercet_worker::model::representation::{Lexical, MultiVector, Representations, offsets, owners};
use tercet_worker::scoring::{RingScoring, Rounding, Scores};

const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);
const DENSE_DIM: i64 = 5;
const VECTOR_DIM: i64 = 4;

/// Seeds libtorch's generator of random numbers, of which there is one for all threads: tests take turns.
fn seeded(seed: i64) -> MutexGuard<'static, ()> {
    let turn = crate::generator();
    tch::manual_seed(seed);
    // Too small to share.
    tch::set_num_threads(1);
    turn
}

/// What the texts of one side look like.
struct Shape {
    /// Vectors of each text.
    vectors: Vec<usize>,
    /// Distinct tokens of each text.
    tokens: Vec<usize>,
}

fn random_lengths(num: i64, longest: i64) -> Vec<usize> {
    let drawn = Tensor::randint(longest + 1, [num], (Kind::Int64, Device::Cpu));
    Vec::<i64>::try_from(drawn).unwrap().into_iter().map(|len| len as usize).collect()
}

/// Representations of texts of this shape; tokens are below `vocabulary`.
fn random(shape: &Shape, vocabulary: i64) -> Representations {
    let ids = shape.tokens.iter().map(|&n| {
        let (ids, _) = Tensor::randperm(vocabulary, (Kind::Int64, Device::Cpu)).narrow(0, 0, n as i64).sort(0, false);
        ids
    });
    let token_ids = Tensor::cat(&ids.collect::<Vec<_>>(), 0);
    // As after ReLU: some weights are 0.
    let weights = Tensor::randn([token_ids.size()[0]], OPTIONS).relu();
    let total: usize = shape.vectors.iter().sum();
    Representations {
        dense: Tensor::randn([shape.vectors.len() as i64, DENSE_DIM], OPTIONS),
        lexical: Some(Lexical {
            host_ids: Some(Vec::try_from(&token_ids).unwrap()),
            token_ids,
            weights,
            offsets: offsets(shape.tokens.iter().copied()),
        }),
        multi_vector: Some(MultiVector {
            vectors: Tensor::randn([total as i64, VECTOR_DIM], OPTIONS),
            offsets: offsets(shape.vectors.iter().copied()),
        }),
    }
}

/// The tensors that gradients are taken of, in one order.
fn leaves(of: &Representations) -> [Tensor; 3] {
    let (lexical, multi_vector) = (of.lexical.as_ref().unwrap(), of.multi_vector.as_ref().unwrap());
    [of.dense.shallow_clone(), lexical.weights.shallow_clone(), multi_vector.vectors.shallow_clone()]
}

/// Σ over the vocabulary of w_q · w_p, by way of the [texts, vocabulary] matrices that training never builds.
fn naive_lexical(queries: &Lexical, passages: &Lexical, vocabulary: i64) -> Tensor {
    let spread = |side: &Lexical| {
        let rows = Tensor::from_slice(&owners(&side.offsets));
        let at = rows * vocabulary + &side.token_ids;
        let num_texts = side.offsets.len() as i64 - 1;
        Tensor::zeros([num_texts * vocabulary], OPTIONS).index_add(0, &at, &side.weights).view([num_texts, vocabulary])
    };
    spread(queries).matmul(&spread(passages).tr())
}

/// (1/N) Σ_i max_j ⟨E_q[i], E_p[j]⟩, and 0 where either has no vector, from all similarities at once.
fn naive_multi_vector(queries: &MultiVector, passages: &MultiVector) -> Tensor {
    let similarities = queries.vectors.matmul(&passages.vectors.tr());
    let best = passages.offsets.windows(2).map(|p| match (p[1] - p[0]) as i64 {
        0 => Tensor::zeros([similarities.size()[0]], OPTIONS),
        len => similarities.narrow(1, p[0] as i64, len).max_dim(1, false).0,
    });
    let best = Tensor::stack(&best.collect::<Vec<_>>(), 1); // [Tq, P]
    let num_passages = best.size()[1];
    let scores = queries.offsets.windows(2).map(|q| match (q[1] - q[0]) as i64 {
        0 => Tensor::zeros([num_passages], OPTIONS),
        len => best.narrow(0, q[0] as i64, len).mean_dim([0i64].as_slice(), false, Kind::Double),
    });
    Tensor::stack(&scores.collect::<Vec<_>>(), 0)
}

fn close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size(), "{what}");
    if found.numel() > 0 {
        let scale = expected.abs().max().double_value(&[]).max(1.0);
        let error = (found - expected).abs().max().double_value(&[]) / scale;
        assert!(error <= 1e-12, "{what}: off by {error:e}");
    }
}

/// Both directions, both ways; a message names `what`.
fn compare(what: &str, queries: &Representations, passages: &Representations, vocabulary: i64) {
    compare_but_for_twins(what, queries, passages, vocabulary, &[], Rounding::NONE);
}

/// As [`compare`]. `twins` are passage vectors that are equal: which of them a query vector is nearest to is rounding's
/// choice, so their gradients count together.
fn compare_but_for_twins(
    what: &str,
    queries: &Representations,
    passages: &Representations,
    vocabulary: i64,
    twins: &[(i64, i64)],
    rounding: Rounding,
) {
    let own = [leaves(queries), leaves(passages)].map(|side| side.map(|leaf| leaf.set_requires_grad(true)));
    let expected = Scores {
        dense: queries.dense.matmul(&passages.dense.tr()),
        lexical: queries.lexical.as_ref().zip(passages.lexical.as_ref()).map(|(q, p)| naive_lexical(q, p, vocabulary)),
        multi_vector: queries
            .multi_vector
            .as_ref()
            .zip(passages.multi_vector.as_ref())
            .map(|(q, p)| naive_multi_vector(q, p)),
    };
    let d_scores = expected.as_ref().map(|s| Tensor::randn(s.size(), OPTIONS));
    let pairs = |a: &Scores, b: &Scores| {
        let heads = |s: &Scores| {
            [Some(&s.dense), s.lexical.as_ref(), s.multi_vector.as_ref()].map(|t| t.unwrap().shallow_clone())
        };
        ["dense", "lexical", "multi-vector"]
            .into_iter()
            .zip(heads(a))
            .zip(heads(b))
            .map(|((n, a), b)| (n, a, b))
            .collect::<Vec<_>>()
    };
    let total: Tensor = pairs(&expected, &d_scores).iter().map(|(_, s, d)| (s * d).sum(Kind::Double)).sum();
    total.backward();

    let _guard = tch::no_grad_guard();
    let ranks = Solo::new();
    let mut scoring = RingScoring::new(&ranks, queries, passages, rounding).unwrap();
    let found = scoring.forward().unwrap();
    for (head, found, expected) in pairs(&found, &expected) {
        close(&format!("{what}: {head} scores"), &found, &expected);
    }
    let (d_queries, d_passages) = scoring.backward(&d_scores).unwrap();
    for (side, leaves, found) in [("queries", &own[0], d_queries), ("passages", &own[1], d_passages)] {
        let found = [found.dense, found.lexical.unwrap(), found.multi_vector.unwrap()];
        for ((head, leaf), found) in ["dense", "lexical", "multi-vector"].iter().zip(leaves).zip(found) {
            let expected = if leaf.grad().defined() { leaf.grad() } else { leaf.zeros_like() };
            if side == "passages" && *head == "multi-vector" {
                join_twins(&found, twins);
                join_twins(&expected, twins);
            }
            close(&format!("{what}: {head} gradient of {side}"), &found, &expected);
        }
    }
}

fn join_twins(gradients: &Tensor, twins: &[(i64, i64)]) {
    for &(one, other) in twins {
        let sum = gradients.get(one) + gradients.get(other);
        gradients.get(one).copy_(&sum);
        let _ = gradients.get(other).zero_();
    }
}

#[test]
fn random_ragged_texts() {
    for seed in 0..60 {
        let _turn = seeded(seed);
        let (num_queries, num_passages) = (1 + seed % 5, 1 + seed % 11);
        let shape = |num: i64, longest: i64| Shape {
            vectors: random_lengths(num, longest),
            tokens: random_lengths(num, longest.min(12)),
        };
        let queries = random(&shape(num_queries, 7), 12);
        let passages = random(&shape(num_passages, 15), 12);
        compare(&format!("seed {seed}"), &queries, &passages, 12);
    }
}

#[test]
fn texts_without_tokens_or_vectors_score_nothing() {
    let empty = |num: usize| Shape { vectors: vec![0; num], tokens: vec![0; num] };
    let some = Shape { vectors: vec![3, 0, 2], tokens: vec![2, 4, 0] };
    let _turn = seeded(1);
    compare("no query has anything", &random(&empty(2), 9), &random(&some, 9), 9);
    compare("no passage has anything", &random(&some, 9), &random(&empty(2), 9), 9);
    compare("nobody has anything", &random(&empty(1), 9), &random(&empty(3), 9), 9);
}

/// The same passage twice, and the same vector twice in a passage.
#[test]
fn repeated_passages_and_vectors() {
    let _turn = seeded(2);
    let shape = Shape { vectors: vec![4, 4, 6], tokens: vec![3, 3, 5] };
    let (queries, mut passages) = (random(&shape, 9), random(&shape, 9));
    let vectors = &passages.multi_vector.as_ref().unwrap().vectors;
    vectors.narrow(0, 4, 4).copy_(&vectors.narrow(0, 0, 4)); // text 1 is text 0
    vectors.narrow(0, 11, 3).copy_(&vectors.narrow(0, 8, 3)); // text 2 says everything twice
    let lexical = passages.lexical.as_mut().unwrap();
    lexical.token_ids.narrow(0, 3, 3).copy_(&lexical.token_ids.narrow(0, 0, 3));
    lexical.host_ids = Some(Vec::try_from(&lexical.token_ids).unwrap());
    lexical.weights.narrow(0, 3, 3).copy_(&lexical.weights.narrow(0, 0, 3));
    compare_but_for_twins("repeated", &queries, &passages, 9, &[(8, 11), (9, 12), (10, 13)], Rounding::NONE);
}

/// More query vectors, similarities and shared tokens than one tile holds (2^10, 2^22 and 2^22).
#[test]
fn several_tiles() {
    let _turn = seeded(3);
    let shape =
        |num: i64, longest: i64| Shape { vectors: random_lengths(num, longest), tokens: random_lengths(num, longest) };
    let queries = random(&shape(24, 120), 800);
    assert!(queries.multi_vector.as_ref().unwrap().vectors.size()[0] > 1100);
    compare("vectors", &queries, &random(&shape(90, 120), 800), 800);

    // 4,000 tokens of queries leave room for about 1,000 passages in a tile.
    let wide = Shape { vectors: vec![1; 10], tokens: vec![2000; 10] };
    let many = Shape { vectors: vec![1; 2300], tokens: random_lengths(2300, 6) };
    compare("tokens", &random(&wide, 4500), &random(&many, 4500), 4500);
}

const FINDS: Rounding = Rounding { finds: true, passages: false };

/// Vectors that bfloat16 has: what finds the winners is no other than what scores them.
#[test]
fn winners_that_rounding_does_not_change_score_and_learn_as_ever() {
    for seed in 0..20 {
        let _turn = seeded(seed);
        let shape =
            |num: i64, longest: i64| Shape { vectors: random_lengths(num, longest), tokens: random_lengths(num, 12) };
        let [queries, passages] =
            [shape(1 + seed % 5, 7), shape(1 + seed % 11, 15)].map(|shape| random(&shape, 12).rounded(Kind::BFloat16));
        compare_but_for_twins(&format!("seed {seed}"), &queries, &passages, 12, &[], FINDS);
    }
}

/// A score is then that of a vector that is nearly as near as the nearest: short of it by no more than rounding has
/// made of both their similarities.
#[test]
fn winners_by_rounded_vectors_score_nearly_as_much_as_the_nearest() {
    let _turn = seeded(4);
    let shape = |num: i64, longest: i64| Shape { vectors: random_lengths(num, longest), tokens: vec![0; num as usize] };
    let (queries, passages) = (random(&shape(20, 30), 9), random(&shape(40, 60), 9));
    let ranks = Solo::new();
    let scores = [Rounding::NONE, FINDS].map(|rounding| {
        RingScoring::new(&ranks, &queries, &passages, rounding).unwrap().forward().unwrap().multi_vector.unwrap()
    });
    let longest = |of: &Representations| {
        let squares = of.multi_vector.as_ref().unwrap().vectors.square();
        squares.sum_dim_intlist([1i64].as_slice(), false, Kind::Double).sqrt().max().double_value(&[])
    };
    // Rounding to nearest changes a number by 2^-9 of itself at most, a product by twice that, and there are two.
    let most = 4.0 * 2f64.powi(-9) * longest(&queries) * longest(&passages);
    let short = &scores[0] - &scores[1];
    let (least, largest) = (short.min().double_value(&[]), short.max().double_value(&[]));
    assert!(least > -1e-12 && largest > 0.0 && largest < most, "{least} {largest} {most}");
}
