// The sums of columns: row blocks' sums, added up in their order.

constexpr int SLICES = 32;

// Adds to `into` the sums over row blocks of `sums`, [row blocks, `count` of `width`]; there are as many tensors `into`
// as `count` says, `[width]` each. A block has 32 columns and SLICES runs of row blocks of each; up to SLICES row
// blocks are added one after another.
KERNEL add_sums(const float* sums, i64 row_blocks, int count, int width, float* into0, float* into1, float* into2) {
  struct Own {};
  Threads<Own> threads;
  SHARED float room[SLICES][32];
  const i64 len = (row_blocks + SLICES - 1) / SLICES, all = static_cast<i64>(count) * width;
  threads.each([&](Own&, int thread) {
    const i64 column = static_cast<i64>(block_x()) * 32 + thread % 32;
    if (column >= all) return;
    const i64 begin = thread / 32 * len, end = begin + len < row_blocks ? begin + len : row_blocks;
    float total = 0.0f;
#pragma unroll 4
    for (i64 block = begin; block < end; ++block) total += sums[block * all + column];
    room[thread / 32][thread % 32] = total;
  });
  threads.meet();
  threads.each([&](Own&, int thread) {
    const i64 column = static_cast<i64>(block_x()) * 32 + thread;
    if (thread >= 32 || column >= all) return;
    const i64 which = column / width;
    float* into = (which == 0 ? into0 : which == 1 ? into1 : into2) + column % width;
    float total = *into;
    for (i64 slice = 0; slice * len < row_blocks; ++slice) total += room[slice][thread];
    *into = total;
  });
}
ENTRY(add_sums)
