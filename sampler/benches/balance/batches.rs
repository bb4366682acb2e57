//! The paper's batch sizes by length (arXiv 2402.03216, appendix B).

/// Batch sizes by length, and the world size that they were made for.
pub struct Table {
    world_size: usize,
    /// (longest text, rows of all ranks together)
    groups: [(usize, usize); 9],
}

/// Stage 2, on 96 GPUs.
pub const UNSUPERVISED: Table = Table {
    world_size: 96,
    groups: [
        (500, 67_200),
        (1000, 54_720),
        (2000, 37_248),
        (3000, 27_648),
        (4000, 21_504),
        (5000, 17_280),
        (6000, 15_072),
        (7000, 12_288),
        (8192, 9_984),
    ],
};

/// Stage 3, on 24 GPUs.
pub const FINE_TUNING: Table = Table {
    world_size: 24,
    groups: [
        (500, 1152),
        (1000, 768),
        (2000, 480),
        (3000, 432),
        (4000, 336),
        (5000, 336),
        (6000, 288),
        (7000, 240),
        (8192, 192),
    ],
};

impl Table {
    /// (above, up to, rows of all ranks). The batch is the paper's up to its own world size, and has the paper's rows
    /// per rank beyond; it is always a multiple of the world size.
    pub fn groups(&self, world_size: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let above = std::iter::once(0).chain(self.groups.iter().map(|group| group.0));
        above.zip(&self.groups).map(move |(above, &(up_to, batch))| {
            let batch = batch * world_size.max(self.world_size) / self.world_size;
            (above, up_to, batch / world_size * world_size)
        })
    }
}
