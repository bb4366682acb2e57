// Bias and activation function (ops/cpu/gelu.rs).

// The standard normal distribution at x: its cumulative probability and its density, as ops/cpu/gelu.rs has them.
INSIDE void normal(float x, float& below, float& density) {
  const float z = magnitude(x) * 0.70710678118654752f;
  const float power = exponential(-0.5f * x * x);
  const float t = reciprocal(times_plus(0.3275911f, z, 1.0f));
  float series = 1.0614054f;
  series = times_plus(series, t, -1.4531520f);
  series = times_plus(series, t, 1.4214137f);
  series = times_plus(series, t, -0.28449674f);
  series = times_plus(series, t, 0.2548296f);
  const float tail = 0.5f * series * t * power;
  below = x < 0.0f ? tail : 1.0f - tail;
  density = 0.3989423f * power;
}

// The activations of x + bias, [T, d]. A block is a row block and the columns of its threads.
template <class E, int V>
INSIDE void gelu_forward(const E* x, const float* bias, E* output, i64 rows, int width, int columns) {
  struct Own {};
  Threads<Own> threads;
  const i64 begin = static_cast<i64>(block_x()) * ROWS, end = begin + ROWS < rows ? begin + ROWS : rows;
  threads.each([&](Own&, int thread) {
    const int column = static_cast<int>(block_y()) * columns + thread * V;
    if (column >= width) return;
    float biases[V];
    for (int v = 0; v < V; ++v) biases[v] = bias[column + v];
#pragma unroll 4
    for (i64 row = begin; row < end; ++row) {
      auto numbers = load<E, V>(x + row * width + column);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float number = widen(numbers.at[v]) + biases[v];
        float below, density;
        normal(number, below, density);
        narrow(number * below, numbers.at[v]);
      }
      store<E, V>(output + row * width + column, numbers);
    }
  });
}

// d, the activations' gradient, becomes that of x, and `output` the activations, [T, d]. `sums` receives a row block's
// sums of the former, [row blocks, d].
template <class E, int V>
INSIDE void gelu_backward(const E* x, const float* bias, E* d, E* output, float* sums, i64 rows, int width,
                          int columns) {
  struct Own {};
  Threads<Own> threads;
  const i64 begin = static_cast<i64>(block_x()) * ROWS, end = begin + ROWS < rows ? begin + ROWS : rows;
  threads.each([&](Own&, int thread) {
    const int column = static_cast<int>(block_y()) * columns + thread * V;
    if (column >= width) return;
    float biases[V], totals[V];
    for (int v = 0; v < V; ++v) {
      biases[v] = bias[column + v];
      totals[v] = 0.0f;
    }
#pragma unroll 2
    for (i64 row = begin; row < end; ++row) {
      const i64 at = row * width + column;
      auto numbers = load<E, V>(x + at);
      auto gradients = load<E, V>(d + at);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float number = widen(numbers.at[v]) + biases[v];
        float below, density;
        normal(number, below, density);
        narrow(number * below, numbers.at[v]);
        narrow(widen(gradients.at[v]) * times_plus(number, density, below), gradients.at[v]);
        totals[v] += widen(gradients.at[v]);
      }
      store<E, V>(output + at, numbers);
      store<E, V>(d + at, gradients);
    }
    for (int v = 0; v < V; ++v) sums[static_cast<i64>(block_x()) * width + column + v] = totals[v];
  });
}

#define GELU(E, name, V)                                                                                              \
  KERNEL gelu_forward_##name##_##V(const E* x, const float* bias, E* output, i64 rows, int width, int columns) {      \
    gelu_forward<E, V>(x, bias, output, rows, width, columns);                                                        \
  }                                                                                                                   \
  ENTRY(gelu_forward_##name##_##V)                                                                                    \
  KERNEL gelu_backward_##name##_##V(const E* x, const float* bias, E* d, E* output, float* sums, i64 rows,            \
                                    int width, int columns) {                                                         \
    gelu_backward<E, V>(x, bias, d, output, sums, rows, width, columns);                                              \
  }                                                                                                                   \
  ENTRY(gelu_backward_##name##_##V)

GELU(float, f32, 1)
GELU(float, f32, 4)
GELU(BFloat16, bf16, 1)
GELU(BFloat16, bf16, 4)
