//! Whose block a rank has while every rank's block travels round the ring of ranks, each hop to the next rank.

/// The owners of the blocks that `rank` has, hop after hop: itself, then the ranks before it. After the last of them a
/// block that moves on is home.
pub fn block_owners(rank: usize, world_size: usize) -> impl Iterator<Item = usize> {
    (0..world_size).map(move |hop| (rank + world_size - hop) % world_size)
}

/// The rank before `rank` on the ring: its block arrives where `rank`'s leaves.
pub fn rank_before(rank: usize, world_size: usize) -> usize {
    (rank + world_size - 1) % world_size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_has_every_block_once_and_its_own_first() {
        assert_eq!(block_owners(1, 4).collect::<Vec<_>>(), [1, 0, 3, 2]);
        assert_eq!(block_owners(0, 1).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_block_arrives_from_the_rank_that_had_it_rank_before() {
        for rank in 0..5 {
            let (own, sender): (Vec<_>, Vec<_>) =
                (block_owners(rank, 5).collect(), block_owners(rank_before(rank, 5), 5).collect());
            assert_eq!(own[1..], sender[..4]);
            assert!(own.windows(2).all(|pair| pair[1] == rank_before(pair[0], 5)));
        }
    }
}
