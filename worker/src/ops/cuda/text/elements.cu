// What is done to each element by itself: dropout alone (ops/cpu/dropout.rs) and AdamW (ops/cpu/adamw.rs).
//
// A thread takes EACH elements that lie a block's threads apart, so that many reads are under way.

constexpr int EACH = 4;

// Calls work(i) for the elements of 0..count that are this block's.
template <class Work>
INSIDE void for_elements(i64 count, int num_threads, Work work) {
  struct Own {};
  Threads<Own> threads;
  threads.each([&](Own&, int thread) {
    const i64 first = static_cast<i64>(block_x()) * num_threads * EACH + thread;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      const i64 at = first + static_cast<i64>(i) * num_threads;
      if (at < count) work(at);
    }
  });
}

INSIDE void multiply(float& x, float by) { x *= by; }
INSIDE void multiply(double& x, float by) { x *= static_cast<double>(by); }
INSIDE void multiply(BFloat16& x, float by) { narrow(widen(x) * by, x); }

#define DROPOUT(E, name)                                                            \
  KERNEL dropout_##name(E* x, i64 count, int num_threads, Dropout dropout) {        \
    for_elements(count, num_threads, [&](i64 at) {                                  \
      multiply(x[at], factor(dropout, static_cast<u32>(at)));                       \
    });                                                                             \
  }                                                                                 \
  ENTRY(dropout_##name)

DROPOUT(float, f32)
DROPOUT(double, f64)
DROPOUT(BFloat16, bf16)

// ops/cpu/adamw.rs says what each is.
struct Update {
  float clip, kept, fresh_mean, fresh_square, rate, scale, epsilon;
};

// Weights and moments are updated; `copy`, if it is not null, receives the weights in bfloat16.
KERNEL adamw(float* weights, const float* gradient, float* means, float* squares, BFloat16* copy, i64 count,
             int num_threads, Update update) {
  for_elements(count, num_threads, [&](i64 at) {
    const float g = gradient[at] * update.clip;
    const float mean = times_plus(update.fresh_mean, g - means[at], means[at]);
    const float square = times_plus(update.fresh_square, g * g - squares[at], squares[at]);
    const float step = update.rate * mean / times_plus(root(square), update.scale, update.epsilon);
    const float weight = times_plus(weights[at], update.kept, -step);
    means[at] = mean;
    squares[at] = square;
    weights[at] = weight;
    if (copy) narrow(weight, copy[at]);
  });
}
ENTRY(adamw)
