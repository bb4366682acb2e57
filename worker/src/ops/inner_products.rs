//! Inner products of queries with many stored vectors, of which only the best are wanted.
//!
//! On a CPU a kernel computes them, and a product is the same number whatever other products are computed with it. On a
//! GPU they are computed and chosen there. Tiles are filled up with zeros to one shape, so that the GPU's library
//! always chooses the same kernel. A thread reads rows while it computes. Rows that are stored in bfloat16 are
//! multiplied as they are, by three parts of each query in bfloat16 whose sum it is to the last bit: a GPU's products
//! of bfloat16, summed in float32, are many times as fast as float32's, and exact before they are summed.
//!
//! Legend: Q queries, d width, R rows.

use std::sync::mpsc::sync_channel;
use std::thread;

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;
use tercet_retrieval::{Numbers, Stored};

use super::Engine;
use super::cpu::inner_products;
use crate::machine::card::has_bf16;
use crate::tensors::libtorch::{add_product, host_room, product_into, send};
use crate::tensors::upload::upload;

/// Rows of a tile on a GPU.
const ROWS: usize = 1 << 14;
/// Queries of a tile on a GPU.
const QUERIES: usize = 256;
/// Tiles of rows that wait on the host for a GPU.
const TILES_AHEAD: usize = 2;

/// Keeps the best products of each query.
pub trait Keep: Sync {
    /// The largest number of products that are kept of a query.
    fn depth(&self) -> usize;
    /// Products of `query` below this are no longer wanted.
    fn floor(&self, query: usize) -> f32;
    /// Offers products of `query`, each with its row.
    fn offer(&self, query: usize, products: &mut dyn Iterator<Item = (usize, f32)>);
}

/// Offers `keep` what it wants of the products of `queries`, [Q, d], fp32, and `rows`, [R, d].
///
/// # Panics
/// If the queries are of another type, or the rows of another width.
pub fn offer_products(queries: &Tensor, rows: Numbers, keep: &impl Keep) {
    match Engine::of(queries) {
        Engine::Cpu => inner_products::for_each_tile(queries, rows, |tile| {
            for (i, query) in tile.queries.clone().enumerate() {
                let (products, floor) = (tile.of(i), keep.floor(query));
                if products.iter().any(|product| *product >= floor) {
                    keep.offer(query, &mut tile.rows.clone().zip(products.iter().copied()));
                }
            }
        }),
        Engine::Cuda | Engine::Libtorch => offer_by_libtorch(queries, rows, keep),
    }
}

/// The products of all `queries`, [Q, d], and `rows`, [R, d], both fp32 and on one device; [Q, R], query after query.
pub fn products(queries: &Tensor, rows: &Tensor) -> Vec<f32> {
    match Engine::of(queries) {
        Engine::Cpu => inner_products::products(queries, rows),
        Engine::Cuda | Engine::Libtorch => numbers(&queries.matmul(&rows.tr())),
    }
}

/// The largest product of each of `queries`, [Q, d], with `rows`, [R, d], both fp32 and on one device; `[Q]`, there.
///
/// # Panics
/// Without a row.
pub fn best_products(queries: &Tensor, rows: &Tensor) -> Tensor {
    match Engine::of(queries) {
        Engine::Cpu => {
            let all = inner_products::products(queries, rows);
            let best = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            Tensor::from_slice(&all.chunks_exact(rows.size()[0] as usize).map(best).collect::<Vec<_>>())
        }
        Engine::Cuda | Engine::Libtorch => queries.matmul(&rows.tr()).amax([1], false),
    }
}

/// In row-major order.
fn numbers(of: &Tensor) -> Vec<f32> {
    let host = of.to_device(Device::Cpu).contiguous();
    let mut numbers = vec![0f32; host.numel()];
    host.copy_data(&mut numbers, host.numel());
    numbers
}

fn offer_by_libtorch(queries: &Tensor, rows: Numbers, keep: &impl Keep) {
    let (width, device) = (queries.size()[1] as usize, queries.device());
    let num_rows = rows.bytes.len() / rows.stored.bytes() / width.max(1);
    let kind = match rows.stored {
        Stored::Bf16 => Kind::BFloat16,
        Stored::Fp32 => Kind::Float,
    };
    let factors = match rows.stored {
        Stored::Bf16 if has_bf16(device) => parts(queries).into(),
        _ => vec![queries.shallow_clone()],
    };
    let starts = (0..num_rows).step_by(ROWS);
    thread::scope(|scope| {
        let (read, coming) = sync_channel(TILES_AHEAD);
        scope.spawn(move || {
            // Reads the rows, which may lie on a disk, into memory that a device copies from.
            let tiles = starts.map(|first_row| {
                let count = ROWS.min(num_rows - first_row);
                let mut room = host_room(&[count as i64, width as i64], kind);
                let own = rows.slice(first_row * width, count * width);
                room.copy_(&Tensor::from_data_size(own.bytes, &room.size(), kind));
                (first_row, room)
            });
            for tile in tiles {
                if read.send(tile).is_err() {
                    return;
                }
            }
        });
        for (first_row, rows) in coming {
            let mut tile = Tensor::empty(rows.size(), (kind, device));
            send(&mut tile, &rows);
            offer_tile(&factors, (first_row, &tile), keep);
        }
    });
}

/// Three tensors of bfloat16 whose sum `numbers`, fp32, are, the smallest first: each has 8 of a number's 24 bits.
fn parts(numbers: &Tensor) -> [Tensor; 3] {
    let mut rest = numbers.shallow_clone();
    let mut parts = [(); 3].map(|()| {
        let part = rest.to_kind(Kind::BFloat16);
        rest = &rest - part.to_kind(Kind::Float);
        part
    });
    parts.reverse();
    parts
}

/// Offers what is wanted of the products of all queries and a tile of rows, [r, d], which begins at `first_row`. The
/// queries are the sum of `factors`, [Q, d], which are all of one type.
fn offer_tile(factors: &[Tensor], (first_row, rows): (usize, &Tensor), keep: &impl Keep) {
    let (num_queries, count, device) = (factors[0].size()[0] as usize, rows.size()[0] as usize, rows.device());
    let tile = filled_up(&rows.to_kind(factors[0].kind()), ROWS).tr(); // [d, ROWS]
    let mut products = Tensor::empty([QUERIES as i64, ROWS as i64], (Kind::Float, device));
    for first in (0..num_queries).step_by(QUERIES) {
        let asking = first..(first + QUERIES).min(num_queries);
        let (start, len) = (first as i64, asking.len() as i64);
        for (i, factor) in factors.iter().enumerate() {
            let own = filled_up(&factor.narrow(0, start, len), QUERIES);
            let multiply = if i == 0 { product_into } else { add_product };
            multiply(MatmulLibrary::default(), &mut products, &own, &tile);
        }
        let products = products.narrow(0, 0, len).narrow(1, 0, count as i64);
        let floors: Vec<f32> = asking.map(|query| keep.floor(query)).collect();
        let mut floors = upload(&floors, device).unsqueeze(1); // [Q, 1]
        if keep.depth() > 0 && keep.depth() < count {
            // The smallest product that can be among the best of this tile alone. Which of those that equal it are kept
            // is `keep`'s to decide.
            let (best, _) = products.topk(keep.depth() as i64, 1, true, false);
            floors = floors.maximum(&best.amin([1], true));
        }
        let wanted = products.ge_tensor(&floors);
        let (places, values) = (wanted.nonzero(), numbers(&products.masked_select(&wanted))); // query after query
        let places = whole_numbers(&places.tr()); // of queries, then of rows
        let (of_query, of_row) = places.split_at(values.len());
        let kept: Vec<_> = of_query.iter().zip(of_row).zip(values).collect();
        for own in kept.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            let mut products = own.iter().map(|&((_, row), value)| (first_row + row, value));
            keep.offer(first + own[0].0.0, &mut products);
        }
    }
}

fn whole_numbers(of: &Tensor) -> Vec<usize> {
    let host = of.to_device(Device::Cpu).contiguous();
    let mut numbers = vec![0i64; host.numel()];
    host.copy_data(&mut numbers, host.numel());
    numbers.into_iter().map(|number| number as usize).collect()
}

/// `rows` with rows of zeros behind them, `count` in all.
fn filled_up(rows: &Tensor, count: usize) -> Tensor {
    let lacking = count as i64 - rows.size()[0];
    match lacking {
        0 => rows.shallow_clone(),
        _ => Tensor::cat(&[rows, &Tensor::zeros([lacking, rows.size()[1]], (rows.kind(), rows.device()))], 0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ops::generator::seeded;

    struct All(Vec<Mutex<Vec<(usize, f32)>>>, usize);

    impl All {
        fn new(num_queries: usize, depth: usize) -> Self {
            Self((0..num_queries).map(|_| Mutex::default()).collect(), depth)
        }

        /// The best of each query, equal ones in the order of rows.
        fn best(self) -> Vec<Vec<(usize, f32)>> {
            let sorted = |kept: Mutex<Vec<(usize, f32)>>| {
                let mut kept = kept.into_inner().unwrap();
                kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                kept.truncate(self.1);
                kept
            };
            self.0.into_iter().map(sorted).collect()
        }
    }

    impl Keep for All {
        fn depth(&self) -> usize {
            self.1
        }

        fn floor(&self, _query: usize) -> f32 {
            f32::NEG_INFINITY
        }

        fn offer(&self, query: usize, products: &mut dyn Iterator<Item = (usize, f32)>) {
            self.0[query].lock().unwrap().extend(products);
        }
    }

    fn bytes(of: &Tensor) -> Vec<u8> {
        numbers(of).iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn random(shape: [i64; 2], seed: i64) -> Tensor {
        seeded(seed.cast_unsigned(), || Tensor::randn(shape, (Kind::Float, Device::Cpu)))
    }

    /// The sum in order, one fused operation after another.
    fn product(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum))
    }

    #[test]
    fn a_product_is_its_sum_in_order_whatever_stands_beside_it() {
        for (num_queries, num_rows, width) in [(1, 1, 1), (3, 200, 33), (300, 70, 16), (14, 65, 100)] {
            let (queries, rows) = (random([num_queries, width], 1), random([num_rows, width], 2));
            let expected: Vec<f32> = (0..num_queries * num_rows)
                .map(|i| {
                    let row = |of: &Tensor, i: i64| numbers(of)[(i * width) as usize..][..width as usize].to_vec();
                    product(&row(&queries, i / num_rows), &row(&rows, i % num_rows))
                })
                .collect();
            assert_eq!(products(&queries, &rows), expected);
            let part = products(&queries.narrow(0, 0, 1), &rows.narrow(0, num_rows - 1, 1));
            assert_eq!(part, [expected[num_rows as usize - 1]]);
        }
    }

    #[test]
    fn three_parts_are_a_number_to_the_last_bit() {
        let some = random([50, 40], 7);
        let numbers = Tensor::cat(&[&some, &(&some * 1e-20), &(&some * 1e20), &(&some + 1.0), &some.zeros_like()], 0);
        let sum = parts(&numbers).iter().fold(numbers.zeros_like(), |sum, part| sum + part.to_kind(Kind::Float));
        assert_eq!(sum, numbers);
    }

    #[test]
    fn the_best_are_the_same_by_kernel_and_by_libtorch() {
        // Small whole numbers: both give the same, and many are equal.
        let whole = |x: Tensor| (x * 2.0).round();
        let (queries, rows) = (whole(random([5, 12], 3)), whole(random([20_000, 12], 4)));
        let bytes = bytes(&rows);
        let stored = Numbers { bytes: &bytes, stored: Stored::Fp32 };
        for depth in [1, 10, 30_000] {
            let (kernel, libtorch) = (All::new(5, depth), All::new(5, depth));
            offer_products(&queries, stored, &kernel);
            offer_by_libtorch(&queries, stored, &libtorch);
            assert!(depth > 10 || libtorch.0[0].lock().unwrap().len() < 10_000, "hardly anything is sent to the host");
            assert_eq!(kernel.best(), libtorch.best(), "{depth}");
        }
    }

    #[test]
    fn bf16_is_read_as_what_it_is() {
        let (queries, rows) = (random([2, 8], 5), random([9, 8], 6).to_kind(Kind::BFloat16));
        let bytes: Vec<u8> = numbers(&rows.to_kind(Kind::Float))
            .iter()
            .flat_map(|number| ((number.to_bits() >> 16) as u16).to_le_bytes())
            .collect();
        let kept = All::new(2, 100);
        offer_products(&queries, Numbers { bytes: &bytes, stored: Stored::Bf16 }, &kept);
        let expected = products(&queries, &rows.to_kind(Kind::Float));
        for (i, kept) in kept.best().iter().enumerate() {
            assert!(kept.len() == 9 && kept.iter().all(|(row, product)| *product == expected[i * 9 + row]));
        }
    }
}
