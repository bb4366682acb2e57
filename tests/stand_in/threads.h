// What worker/src/ops/cuda/text is written in, on a CPU: device.h there has the same for a GPU. A block's threads are
// loops, one after another, so that what a thread sees of the others without waiting for them is not found here.
#ifndef TERCET_STAND_IN_THREADS_H
#define TERCET_STAND_IN_THREADS_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include "launch.h"

#define KERNEL extern "C" void
#define ENTRY(name) static const stand_in::Entry name##_entry(#name, name);
#define INSIDE static inline
#define SHARED

using u32 = uint32_t;
using u64 = uint64_t;
using i64 = int64_t;

INSIDE u32 block_x() { return stand_in::block.x; }
INSIDE u32 block_y() { return stand_in::block.y; }

template <class Own>
struct Threads {
  Own all[stand_in::MOST_THREADS];

  template <class Work>
  void each(Work work) {
    for (int thread = 0; thread < stand_in::block.threads; ++thread) work(all[thread], thread);
  }

  void meet() {}

  // In the order in which a GPU adds: by halves within 32 threads, then those in their order.
  template <int N, class Of>
  void sums(float (&totals)[N], float* room, Of of) {
    for (int n = 0; n < N; ++n) {
      totals[n] = 0.0f;
      for (int first = 0; first < stand_in::block.threads; first += 32) {
        float sum[32];
        for (int lane = 0; lane < 32; ++lane) sum[lane] = of(all[first + lane], n);
        for (int distance = 16; distance > 0; distance /= 2) {
          float before[32];
          std::memcpy(before, sum, sizeof before);
          for (int lane = 0; lane < 32; ++lane) sum[lane] = before[lane] + before[lane ^ distance];
        }
        totals[n] += room[n * 32 + first / 32] = sum[0];
      }
    }
  }
};

struct BFloat16 {
  uint16_t bits;
};

INSIDE float widen(float number) { return number; }
INSIDE float widen(BFloat16 number) {
  const u32 bits = static_cast<u32>(number.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

INSIDE void narrow(float number, float& into) { into = number; }
INSIDE void narrow(float number, BFloat16& into) {
  u32 bits;
  std::memcpy(&bits, &number, sizeof bits);
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  into.bits = is_nan ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

INSIDE float times_plus(float a, float b, float c) { return std::fma(a, b, c); }
INSIDE float magnitude(float x) { return std::fabs(x); }
INSIDE float root(float x) { return std::sqrt(x); }
INSIDE float reciprocal(float x) { return 1.0f / x; }

// As ops/cpu/mod.rs has it, so that numbers can be compared to the bit.
INSIDE float exponential(float x) {
  float within = x < -86.0f ? -86.0f : x;
  within = within > 88.0f ? 88.0f : within;
  const float shifted = std::fma(within, 1.44269504088896341f, 12582912.0f), twos = shifted - 12582912.0f;
  const float rest = std::fma(twos, 2.121944400e-4f, std::fma(twos, -0.6933594f, within));
  float series = 1.9875691e-4f;
  for (const float coefficient : {1.3981999e-3f, 8.333452e-3f, 4.1665796e-2f, 1.6666665e-1f, 0.5f}) {
    series = std::fma(series, rest, coefficient);
  }
  series = std::fma(series, rest * rest, rest + 1.0f);
  u32 bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + 0x3f800000u;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -86.0f ? 0.0f : series * power;
}

#endif
