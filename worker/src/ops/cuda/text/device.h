// What kernels.cu is written in, on a GPU: the threads of a block, and the numbers. tests/stand_in/threads.h has the
// same for a CPU, where the threads of a block are a loop.
//
// NVRTC brings no headers along, so nothing is included.

// At most this many threads a block.
#define KERNEL extern "C" __global__ void __launch_bounds__(1024)
// Makes a kernel known by its name where it is not looked up in a module.
#define ENTRY(name)
#define INSIDE static __device__ __forceinline__
#define SHARED __shared__

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

INSIDE u32 block_x() { return blockIdx.x; }
INSIDE u32 block_y() { return blockIdx.y; }

// The threads of a block, each with an `Own` of its own. Between two calls of `each` a thread sees of the others only
// what `sums` or `meet` has passed.
template <class Own>
struct Threads {
  Own own;

  // Calls work(own, thread) for every thread.
  template <class Work>
  __device__ __forceinline__ void each(Work work) {
    work(own, static_cast<int>(threadIdx.x));
  }

  __device__ __forceinline__ void meet() { __syncthreads(); }

  // The sums over the block of the N numbers that of(own, n) gives. `room` has N times 32 places. Two calls in a row
  // must have different rooms.
  template <int N, class Of>
  __device__ __forceinline__ void sums(float (&totals)[N], float* room, Of of) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      float sum = of(own, n);
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
      if (lane == 0) room[n * 32 + warp] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; ++n) {
      totals[n] = 0.0f;
      for (int i = 0; i < warps; ++i) totals[n] += room[n * 32 + i];
    }
  }
};

struct BFloat16 {
  unsigned short bits;
};

INSIDE float widen(float number) { return number; }
INSIDE float widen(BFloat16 number) { return __uint_as_float(static_cast<u32>(number.bits) << 16); }

// To the nearest, ties to even.
INSIDE void narrow(float number, float& into) { into = number; }
INSIDE void narrow(float number, BFloat16& into) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(into.bits) : "f"(number)); }

INSIDE float times_plus(float a, float b, float c) { return fmaf(a, b, c); }
INSIDE float magnitude(float x) { return fabsf(x); }
INSIDE float root(float x) { return sqrtf(x); }
// Both to about 2e-7 of the result, by the units that a GPU has for them.
INSIDE float exponential(float x) { return __expf(x); }
INSIDE float reciprocal(float x) { return __fdividef(1.0f, x); }
