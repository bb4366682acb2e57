//! Inner products of queries with rows of vectors, tile by tile of rows.
//!
//! A product is the sum over the width in its order, one fused multiplication and addition after another. So it is the
//! same number whatever the other queries and rows are, however they are cut into tiles, and on any number of threads
//! and any processor with such an instruction.
//!
//! Legend: Q queries, d width, R rows.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use tch::Tensor;
use tercet_retrieval::{Numbers, Stored};

use super::product::{LANES, Left, Shape, multiply};
use super::{Shared, elements, parallel};

/// Rows of a tile: their columns in float32 fit a core's L2 cache at a width of 1024.
const TILE: usize = 64;
/// Queries whose products with a tile are computed at a time.
const QUERIES: usize = 256;

/// The products of some queries with a tile of rows.
pub struct Products<'a> {
    /// The queries.
    pub queries: Range<usize>,
    /// The rows.
    pub rows: Range<usize>,
    /// Query after query, [`TILE`] numbers each.
    products: &'a [f32],
}

impl Products<'_> {
    /// The products of the i-th of these queries, one for each of these rows.
    pub fn of(&self, i: usize) -> &[f32] {
        &self.products[i * TILE..i * TILE + self.rows.len()]
    }
}

/// All of `queries`, [Q, d], and `rows`, [R, d], fp32: [Q, R], query after query.
pub fn products(queries: &Tensor, rows: &Tensor) -> Vec<f32> {
    let (num_queries, num_rows) = (queries.size()[0] as usize, rows.size()[0] as usize);
    let bytes: Vec<u8> = elements::<f32>(&rows.contiguous()).iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut all = vec![0f32; num_queries * num_rows];
    let shared = Shared::new(&mut all);
    for_each_tile(queries, Numbers { bytes: &bytes, stored: Stored::Fp32 }, |tile| {
        for (i, query) in tile.queries.clone().enumerate() {
            // SAFETY: a tile has places of its own.
            let to = unsafe { shared.slice(query * num_rows + tile.rows.start, tile.rows.len()) };
            to.copy_from_slice(tile.of(i));
        }
    });
    all
}

/// Calls `visit` with the products of `queries`, [Q, d], fp32, and `rows`, [R, d], part by part, on all threads.
pub fn for_each_tile(queries: &Tensor, rows: Numbers, visit: impl Fn(&Products) + Sync) {
    const { assert!(TILE.is_multiple_of(LANES)) };
    let (queries, width) = (queries.contiguous(), queries.size()[1] as usize);
    let queries = elements::<f32>(&queries);
    let num_rows = rows.bytes.len() / rows.stored.bytes() / width.max(1);
    let num_queries = queries.len() / width.max(1);
    parallel(num_rows.div_ceil(TILE), 1, |tiles| {
        let (mut columns, mut products) = (vec![0.0; width * TILE], vec![0.0; QUERIES.min(num_queries) * TILE]);
        for tile in tiles {
            let rows_here = tile * TILE..((tile + 1) * TILE).min(num_rows);
            columns.fill(0.0);
            for (i, row) in rows_here.clone().enumerate() {
                rows.slice(row * width, width).for_each(|k, number| columns[k * TILE + i] = number);
            }
            for first in (0..num_queries).step_by(QUERIES) {
                let queries_here = first..(first + QUERIES).min(num_queries);
                let own = &queries[first * width..queries_here.end * width];
                Arch::new().dispatch(Product { queries: own, columns: &columns, width, products: &mut products });
                visit(&Products { queries: queries_here, rows: rows_here.clone(), products: &products });
            }
        }
    });
}

/// queries [Q, d] · columns [d, TILE].
struct Product<'a> {
    queries: &'a [f32],
    columns: &'a [f32],
    width: usize,
    products: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, columns, width, products } = self;
        let rows = queries.len() / width.max(1);
        let shape = Shape { rows, depth: width, columns: TILE, b_len: TILE, c_len: TILE, add: false };
        multiply(simd, shape, Left { numbers: queries, row_stride: width, depth_stride: 1 }, columns, products);
    }
}
