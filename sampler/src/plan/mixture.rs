//! How often each source's cells come: turns weights, temperature and shares into batches per round.

/// What decides how often a source is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draw {
    /// The weight relative to other sources of the same size.
    pub(super) weight: f64,
    /// A fixed share of all rows, instead of the weight.
    pub(super) share: Option<f64>,
}

/// The number of batches of each cell in a round.
///
/// `cells` holds each cell's source, its number of whole batches in a pass, and its batch size. A round has about as
/// many rows as one pass over all sources that are drawn from. If all weights and the temperature are 1, it is exactly
/// that pass.
pub(super) fn batches_per_round(cells: &[(usize, u64, u64)], draws: &[Draw], temperature: f64) -> Vec<u64> {
    let mut rows = vec![0.0; draws.len()];
    for &(source, batches, global_batch) in cells {
        rows[source] += batches as f64 * global_batch as f64;
    }
    let passes = passes(&rows, draws, temperature);
    let batches = |&(source, batches, _): &(usize, u64, u64)| match passes[source] {
        0.0 => 0,
        passes => ((passes * batches as f64).round() as u64).clamp(1, u64::from(u32::MAX)),
    };
    cells.iter().map(batches).collect()
}

/// The number of passes over each source in a round.
fn passes(rows: &[f64], draws: &[Draw], temperature: f64) -> Vec<f64> {
    let drawn = |source: usize| rows[source] > 0.0 && (draws[source].share.is_some() || draws[source].weight > 0.0);
    let sources = || (0..draws.len()).filter(|&source| drawn(source));
    let all_rows: f64 = sources().map(|source| rows[source]).sum();
    let mass = |source: usize| match draws[source].share {
        None => draws[source].weight * rows[source].powf(1.0 / temperature),
        Some(_) => 0.0,
    };
    let total_mass: f64 = sources().map(mass).sum();
    let fixed: f64 = sources().filter_map(|source| draws[source].share).sum();
    let plain = temperature == 1.0 && sources().all(|s| draws[s] == Draw { weight: 1.0, share: None });
    let mut passes = vec![0.0; draws.len()];
    for source in sources() {
        let share = match draws[source].share {
            // If no source takes the rest, the shares are relative.
            Some(share) if total_mass == 0.0 => share / fixed,
            Some(share) => share,
            None => (1.0 - fixed).max(0.0) * mass(source) / total_mass,
        };
        passes[source] = if plain { 1.0 } else { share * all_rows / rows[source] };
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Draw = Draw { weight: 1.0, share: None };
    /// Two sources, of 9,000 rows in two cells and of 1,000.
    const CELLS: [(usize, u64, u64); 3] = [(0, 80, 100), (0, 20, 50), (1, 100, 10)];

    fn rows(batches: &[u64]) -> [f64; 2] {
        let rows = |source| {
            let cells = CELLS.iter().zip(batches).filter(move |(cell, _)| cell.0 == source);
            cells.map(|(cell, batches)| (batches * cell.2) as f64).sum()
        };
        [rows(0), rows(1)]
    }

    #[test]
    fn without_weights_a_round_is_a_pass() {
        assert_eq!(batches_per_round(&CELLS, &[PLAIN, PLAIN], 1.0), [80, 20, 100]);
        assert_eq!(batches_per_round(&CELLS, &[PLAIN, Draw { weight: 0.0, ..PLAIN }], 1.0), [80, 20, 0]);
    }

    #[test]
    fn weights_multiply_what_sizes_say() {
        // 9000 : 3 x 1000 of 10,000 rows.
        let batches = batches_per_round(&CELLS, &[PLAIN, Draw { weight: 3.0, ..PLAIN }], 1.0);
        assert_eq!(batches, [67, 17, 250]);
        let [large, small] = rows(&batches);
        assert!((large / small - 3.0).abs() < 0.05, "{large} : {small}");
    }

    #[test]
    fn temperature_evens_sizes_out() {
        // The square roots: 3 : 1.
        let [large, small] = rows(&batches_per_round(&CELLS, &[PLAIN, PLAIN], 2.0));
        assert!((large / small - 3.0).abs() < 0.05, "{large} : {small}");
        let [large, small] = rows(&batches_per_round(&CELLS, &[PLAIN, PLAIN], 1e9));
        assert!((large / small - 1.0).abs() < 0.02, "{large} : {small}");
    }

    #[test]
    fn a_share_is_of_the_rows_drawn() {
        let shared = |share| Draw { weight: 1.0, share: Some(share) };
        let [large, small] = rows(&batches_per_round(&CELLS, &[PLAIN, shared(0.25)], 1.0));
        assert!((small / (large + small) - 0.25).abs() < 0.01, "{large} : {small}");
        let [large, small] = rows(&batches_per_round(&CELLS, &[shared(0.2), shared(0.2)], 1.0));
        assert!((large / small - 1.0).abs() < 0.02, "{large} : {small}");
    }

    #[test]
    fn what_is_drawn_from_at_all_gives_a_batch() {
        assert_eq!(batches_per_round(&CELLS, &[PLAIN, Draw { weight: 1e-9, ..PLAIN }], 1.0)[2], 1);
    }
}
