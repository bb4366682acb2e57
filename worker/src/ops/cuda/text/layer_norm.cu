// Bias, dropout, residual and layer norm (ops/cpu/layer_norm.rs).

// x becomes dropout(x + linear_bias) + residual, [T, d]; output is its layer norm. A block is a row.
template <class E, int V>
INSIDE void norm_forward(E* x, const float* linear_bias, const E* residual, const float* weight, const float* bias,
                         E* output, float* mean, float* rstd, int width, float eps, Dropout dropout) {
  struct Own {
    float sum[V];
  };
  Threads<Own> threads;
  SHARED float room[2][32];
  const i64 first = static_cast<i64>(block_x()) * width;
  threads.each([&](Own& own, int thread) {
    const int column = thread * V;
    for (int v = 0; v < V; ++v) own.sum[v] = 0.0f;
    if (column >= width) return;
    auto numbers = load<E, V>(x + first + column);
    const auto others = load<E, V>(residual + first + column);
    const auto biases = load_weights<V>(linear_bias + column);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float kept = factor(dropout, static_cast<u32>(first + column + v));
      const float mapped = widen(numbers.at[v]) + biases.at[v];
      narrow(times_plus(mapped, kept, widen(others.at[v])), numbers.at[v]);
      own.sum[v] = widen(numbers.at[v]);
    }
    store<E, V>(x + first + column, numbers);
  });
  float totals[1];
  threads.template sums<1>(totals, room[0], [](const Own& own, int) {
    float sum = 0.0f;
    for (int v = 0; v < V; ++v) sum += own.sum[v];
    return sum;
  });
  const float centre = totals[0] / static_cast<float>(width);
  threads.each([&](Own& own, int thread) {
    // What lies beyond the row must not count.
    if (thread * V >= width)
      for (int v = 0; v < V; ++v) own.sum[v] = centre;
  });
  threads.template sums<1>(totals, room[1], [&](const Own& own, int) {
    float sum = 0.0f;
    for (int v = 0; v < V; ++v) sum = times_plus(own.sum[v] - centre, own.sum[v] - centre, sum);
    return sum;
  });
  const float inverse = 1.0f / root(totals[0] / static_cast<float>(width) + eps);
  threads.each([&](Own& own, int thread) {
    const int column = thread * V;
    if (thread == 0) {
      mean[block_x()] = centre;
      rstd[block_x()] = inverse;
    }
    if (column >= width) return;
    const auto weights = load_weights<V>(weight + column), biases = load_weights<V>(bias + column);
    Some<E, V> numbers;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      narrow(times_plus((own.sum[v] - centre) * inverse, weights.at[v], biases.at[v]), numbers.at[v]);
    }
    store<E, V>(output + first + column, numbers);
  });
}

// From the output's gradient, [T, d]: the residual's, and that of x; without dropout, where both are the same, d_x is
// null. `sums` receives a row block's sums for weight, bias and the linear bias, [row blocks, 3, d].
template <class E, int V>
INSIDE void norm_backward(const E* sum, const float* mean, const float* rstd, const E* grad, const float* weight,
                          E* d_residual, E* d_x, float* sums, i64 rows, int width, Dropout dropout) {
  struct Own {
    Some<float, V> weight;
    float of_weight[V], of_bias[V], of_linear[V];
    float normal[V], scaled[V];
  };
  Threads<Own> threads;
  SHARED float room[2][2 * 32];
  threads.each([&](Own& own, int thread) {
    for (int v = 0; v < V; ++v) own.of_weight[v] = own.of_bias[v] = own.of_linear[v] = 0.0f;
    if (thread * V < width) own.weight = load_weights<V>(weight + thread * V);
  });
  const i64 begin = static_cast<i64>(block_x()) * ROWS, end = begin + ROWS < rows ? begin + ROWS : rows;
  for (i64 row = begin; row < end; ++row) {
    const i64 first = row * width;
    const float centre = mean[row], inverse = rstd[row];
    threads.each([&](Own& own, int thread) {
      const int column = thread * V;
      for (int v = 0; v < V; ++v) own.normal[v] = own.scaled[v] = 0.0f;
      if (column >= width) return;
      const auto numbers = load<E, V>(sum + first + column);
      const auto gradients = load<E, V>(grad + first + column);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const float g = widen(gradients.at[v]);
        own.normal[v] = (widen(numbers.at[v]) - centre) * inverse;
        own.scaled[v] = g * own.weight.at[v];
        own.of_weight[v] = times_plus(g, own.normal[v], own.of_weight[v]);
        own.of_bias[v] += g;
      }
    });
    float totals[2];
    threads.template sums<2>(totals, room[row % 2], [](const Own& own, int n) {
      float sum = 0.0f;
      for (int v = 0; v < V; ++v) sum = n == 0 ? sum + own.scaled[v] : times_plus(own.scaled[v], own.normal[v], sum);
      return sum;
    });
    const float offset = totals[0] / static_cast<float>(width), slope = totals[1] / static_cast<float>(width);
    threads.each([&](Own& own, int thread) {
      const int column = thread * V;
      if (column >= width) return;
      Some<E, V> residuals, linears;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        narrow(inverse * (own.scaled[v] - times_plus(own.normal[v], slope, offset)), residuals.at[v]);
        const float kept = factor(dropout, static_cast<u32>(first + column + v));
        narrow(widen(residuals.at[v]) * kept, linears.at[v]);
        own.of_linear[v] += widen(linears.at[v]);
      }
      store<E, V>(d_residual + first + column, residuals);
      if (d_x) store<E, V>(d_x + first + column, linears);
    });
  }
  threads.each([&](Own& own, int thread) {
    const int column = thread * V;
    if (column >= width) return;
    float* own_sums = sums + static_cast<i64>(block_x()) * 3 * width + column;
    for (int v = 0; v < V; ++v) {
      own_sums[v] = own.of_weight[v];
      own_sums[width + v] = own.of_bias[v];
      own_sums[2 * width + v] = own.of_linear[v];
    }
  });
}

#define NORM(E, name, V)                                                                                              \
  KERNEL norm_forward_##name##_##V(E* x, const float* linear_bias, const E* residual, const float* weight,            \
                                   const float* bias, E* output, float* mean, float* rstd, int width, float eps,      \
                                   Dropout dropout) {                                                                 \
    norm_forward<E, V>(x, linear_bias, residual, weight, bias, output, mean, rstd, width, eps, dropout);              \
  }                                                                                                                   \
  ENTRY(norm_forward_##name##_##V)                                                                                    \
  KERNEL norm_backward_##name##_##V(const E* sum, const float* mean, const float* rstd, const E* grad,                \
                                    const float* weight, E* d_residual, E* d_x, float* sums, i64 rows, int width,     \
                                    Dropout dropout) {                                                                \
    norm_backward<E, V>(sum, mean, rstd, grad, weight, d_residual, d_x, sums, rows, width, dropout);                  \
  }                                                                                                                   \
  ENTRY(norm_backward_##name##_##V)

NORM(float, f32, 1)
NORM(float, f32, 4)
NORM(BFloat16, bf16, 1)
NORM(BFloat16, bf16, 4)
