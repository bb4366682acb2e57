// What the kernels beside this file share.
//
// They compute what those in ops/cpu compute, in float32 and with the same order of operations. Only a row's two sums,
// and sums over more than 1024 rows, are added in another order; and on a GPU the exponential function and the
// reciprocal of the activation are the card's.
//
// The text is compiled twice: by NVRTC behind device.h, and in tests by a C++ compiler behind
// tests/stand_in/threads.h.
//
// Legend: E the type of activations; V neighbouring columns that a thread takes, which divide the width; T rows; d the
// width; a row block is ROWS rows, as in ops/cpu/mod.rs.

constexpr int ROWS = 32;

// V numbers that are read or written at once.
template <class E, int V>
struct alignas(sizeof(E) * V) Some {
  E at[V];
};

template <class E, int V>
INSIDE Some<E, V> load(const E* from) {
  return *reinterpret_cast<const Some<E, V>*>(from);
}

template <class E, int V>
INSIDE void store(E* into, const Some<E, V>& numbers) {
  *reinterpret_cast<Some<E, V>*>(into) = numbers;
}

// V float32 numbers of a weight, which may begin anywhere.
template <int V>
INSIDE Some<float, V> load_weights(const float* from) {
  if (reinterpret_cast<u64>(from) % sizeof(Some<float, V>) == 0) return load<float, V>(from);
  Some<float, V> numbers;
  for (int v = 0; v < V; ++v) numbers.at[v] = from[v];
  return numbers;
}

// A place of dropout (ops/cpu/dropout.rs, whose hash this is). A threshold of 0 drops nothing.
struct Dropout {
  u32 low, high, threshold;
  float scale;
};

// What the element with this number is multiplied by.
INSIDE float factor(const Dropout& dropout, u32 place) {
  if (dropout.threshold == 0) return 1.0f;
  u32 hash = place * 0x9e3779b1u + dropout.low;
  hash = ((hash ^ (hash >> 16)) * 0x85ebca6bu) ^ dropout.high;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
  hash ^= hash >> 16;
  return hash >= dropout.threshold ? dropout.scale : 0.0f;
}
