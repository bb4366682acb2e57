//! A checksum of a tensor's bits, the same on every device and with any number of threads.
//!
//! A sum of integers has no order, so a GPU adds up gigabytes of weights where they lie, and the host reads two numbers
//! for each piece.

use tch::{Kind, Tensor};

/// Elements that are summed at a time. The sum of their 32 bits, each times a factor below 2¹⁰, stays below 2⁶³.
const PIECE: i64 = 1 << 20;
/// The number of factors, a prime: elements that change places change the second sum.
const FACTORS: i64 = 1021;

/// The checksum of all bits of `flat`, `[N]`, of 32-bit or 64-bit numbers. It finds every difference in one number, and
/// differences in several unless they cancel out in both sums. It is no defence against intended collisions.
pub fn checksum(flat: &Tensor) -> i64 {
    let _guard = tch::no_grad_guard();
    let bits = flat.view_dtype(Kind::Int);
    let count = bits.size()[0];
    let factors = Tensor::arange(PIECE.min(count), (Kind::Int64, flat.device())).remainder(FACTORS) + 1;
    let mut sums = Vec::with_capacity(2 * (count / PIECE + 1) as usize);
    for start in (0..count).step_by(PIECE as usize) {
        let len = PIECE.min(count - start);
        let numbers = bits.narrow(0, start, len).to_kind(Kind::Int64);
        sums.push(numbers.sum(Kind::Int64));
        sums.push((numbers * factors.narrow(0, 0, len)).sum(Kind::Int64));
    }
    let sums = match sums.is_empty() {
        true => Vec::new(),
        false => Vec::<i64>::try_from(Tensor::stack(&sums, 0)).expect("one-dimensional int64"),
    };
    let mut hasher = blake3::Hasher::new();
    sums.iter().for_each(|sum| _ = hasher.update(&sum.to_le_bytes()));
    let hash = hasher.finalize();
    i64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn numbers(count: i64, kind: Kind) -> Tensor {
        Tensor::arange(count, (Kind::Double, Device::Cpu)).sin().to_kind(kind)
    }

    #[test]
    fn it_is_the_same_for_the_same_bits_alone() {
        for kind in [Kind::Float, Kind::Double] {
            let flat = numbers(3 * PIECE + 5, kind);
            let whole = checksum(&flat);
            assert_eq!(checksum(&flat.copy()), whole);
            let threads = tch::get_num_threads();
            tch::set_num_threads(3);
            assert_eq!(checksum(&flat), whole);
            tch::set_num_threads(threads);
            for place in [0, 1, PIECE, 2 * PIECE - 1, 3 * PIECE + 4] {
                let other = flat.copy();
                // The sign of a zero is the smallest change that there is, and equal as a number.
                let _ = other.narrow(0, place, 1).g_mul_scalar_(if place == 0 { -1.0 } else { 1.0 + 1e-6 });
                assert_ne!(checksum(&other), whole, "{kind:?}, place {place}");
            }
            // Two numbers that have changed places.
            let swapped = flat.copy();
            swapped.narrow(0, 7, 1).copy_(&flat.narrow(0, 9, 1));
            swapped.narrow(0, 9, 1).copy_(&flat.narrow(0, 7, 1));
            assert_ne!(checksum(&swapped), whole);
        }
        assert_eq!(checksum(&numbers(0, Kind::Float)), checksum(&numbers(0, Kind::Float)));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let ones = Tensor::full([PIECE], -1, (Kind::Int, Device::Cpu)).view_dtype(Kind::Float);
        let last = Tensor::full([PIECE], i64::from(i32::MIN), (Kind::Int, Device::Cpu)).view_dtype(Kind::Float);
        assert_ne!(checksum(&ones), checksum(&last));
    }
}
