//! Small matrix products whose operands lie in a core's cache, for the kernels that need them between other work.
//!
//! A tile of the result stays in registers while the depth is walked through: rows of `b` are loaded, numbers of `a`
//! broadcast. Large products are libtorch's.

use pulp::Simd;

/// Row lengths of what a product reads or writes in vectors are multiples of this: no processor has wider ones.
pub const LANES: usize = 16;

/// `a(i, p)` is `numbers[i · row_stride + p · depth_stride]`.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub numbers: &'a [f32],
    pub row_stride: usize,
    pub depth_stride: usize,
}

/// c[m, n] = a[m, depth] · b[depth, n]; with `add` the product is added to c. Rows of `b` and `c` are `b_len` and
/// `c_len` apart; n is a multiple of [`LANES`].
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub b_len: usize,
    pub c_len: usize,
    pub add: bool,
}

/// Does the product `shape`.
///
/// # Panics
/// If an operand is too small for it.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, shape: Shape, a: Left, b: &[f32], c: &mut [f32]) {
    let Shape { rows, depth, columns, b_len, c_len, .. } = shape;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(columns.is_multiple_of(LANES) && b_len >= columns && c_len >= columns);
    assert!(c.len() >= (rows - 1) * c_len + columns);
    if depth > 0 {
        assert!(b.len() >= (depth - 1) * b_len + columns);
        assert!(a.numbers.len() > (rows - 1) * a.row_stride + (depth - 1) * a.depth_stride);
    }
    let block = Block { simd, shape, a, b: b.as_ptr(), c: c.as_mut_ptr() };
    // Twice as many rows as fit beside a wide tile make up for half its width.
    if S::REGISTER_COUNT >= 32 {
        block.columns::<4, 2, 6, 12>();
    } else {
        block.columns::<2, 1, 6, 12>();
    }
}

#[derive(Clone, Copy)]
struct Block<'a, S> {
    simd: S,
    shape: Shape,
    a: Left<'a>,
    b: *const f32,
    c: *mut f32,
}

impl<S: Simd> Block<'_, S> {
    /// All columns, `WIDE` vectors of them at a time in tiles of `LOW` rows, then `NARROW` in tiles of `HIGH`, then
    /// singly.
    #[inline(always)]
    fn columns<const WIDE: usize, const NARROW: usize, const LOW: usize, const HIGH: usize>(self) {
        let mut column = 0;
        while column + WIDE * S::F32_LANES <= self.shape.columns {
            self.rows::<WIDE, LOW>(column);
            column += WIDE * S::F32_LANES;
        }
        while column + NARROW * S::F32_LANES <= self.shape.columns {
            self.rows::<NARROW, HIGH>(column);
            column += NARROW * S::F32_LANES;
        }
        while column < self.shape.columns {
            self.rows::<1, HIGH>(column);
            column += S::F32_LANES;
        }
    }

    #[inline(always)]
    fn rows<const WIDTH: usize, const HEIGHT: usize>(self, column: usize) {
        let mut row = 0;
        while row + HEIGHT <= self.shape.rows {
            self.tile::<WIDTH, HEIGHT>(row, column);
            row += HEIGHT;
        }
        while row + 4 <= self.shape.rows {
            self.tile::<WIDTH, 4>(row, column);
            row += 4;
        }
        while row < self.shape.rows {
            self.tile::<WIDTH, 1>(row, column);
            row += 1;
        }
    }

    #[inline(always)]
    fn tile<const WIDTH: usize, const HEIGHT: usize>(self, row: usize, column: usize) {
        let Self { simd, shape, a, b, c } = self;
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; HEIGHT];
        // SAFETY: `multiply` has asserted that all rows, columns and depths of the shape lie within the operands;
        // `columns` and `rows` go no further than the shape. Vectors need no more alignment than numbers where they are
        // read and written unaligned.
        unsafe {
            let mut left = a.numbers.as_ptr().add(row * a.row_stride);
            let mut right = b.add(column);
            for _ in 0..shape.depth {
                let mut vectors = [simd.splat_f32s(0.0); WIDTH];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = right.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let number = simd.splat_f32s(*left.add(r * a.row_stride));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = simd.mul_add_f32s(number, vector, *sum);
                    }
                }
                left = left.wrapping_add(a.depth_stride);
                right = right.wrapping_add(shape.b_len);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let place = c.add((row + r) * shape.c_len + column + v * S::F32_LANES).cast::<S::f32s>();
                    let before = place.read_unaligned();
                    place.write_unaligned(if shape.add { simd.add_f32s(before, sum) } else { sum });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::*;

    struct Product<'a>(Shape, Left<'a>, &'a [f32], &'a mut [f32]);

    impl WithSimd for Product<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            multiply(simd, self.0, self.1, self.2, self.3);
        }
    }

    #[test]
    fn every_size_is_the_sum_of_products_and_nothing_else_is_touched() {
        for (rows, depth, columns, add) in
            [(1, 1, 16, false), (13, 0, 32, true), (30, 7, 48, true), (17, 33, 176, false)]
        {
            for [row_stride, depth_stride] in [[depth + 1, 1], [1, rows + 2]] {
                let (b_len, c_len) = (columns + 3, columns + 1);
                // Small integers: every order of summation gives the same.
                let a: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 - 3.0).collect();
                let b: Vec<f32> = (0..depth.max(1) * b_len).map(|i| (i % 5) as f32 - 2.0).collect();
                let before: Vec<f32> = (0..rows * c_len).map(|i| (i % 3) as f32).collect();
                let left = Left { numbers: &a, row_stride, depth_stride };
                let shape = Shape { rows, depth, columns, b_len, c_len, add };
                let with = |run: &dyn Fn(Product)| {
                    let mut c = before.clone();
                    run(Product(shape, left, &b, &mut c));
                    c
                };
                // By this processor's instructions, by none, and by older ones.
                let found = with(&|product| Arch::new().dispatch(product));
                assert_eq!(found, with(&|product| Simd::vectorize(pulp::Scalar::new(), product)));
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = pulp::x86::V3::try_new() {
                    assert_eq!(found, with(&|product| Simd::vectorize(simd, product)));
                }
                for (place, (&found, &before)) in found.iter().zip(&before).enumerate() {
                    let (i, j) = (place / c_len, place % c_len);
                    let sum: f32 = (0..depth).map(|p| a[i * row_stride + p * depth_stride] * b[p * b_len + j]).sum();
                    let expected = match (j < columns, add) {
                        (false, _) => before,
                        (true, true) => before + sum,
                        (true, false) => sum,
                    };
                    assert_eq!(found, expected, "row {i}, column {j} of {rows} × {depth} × {columns}");
                }
            }
        }
    }
}
