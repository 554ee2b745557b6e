// Vectors of VL floats, as long as the processor takes them, and what the kernels do with them.

#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int VL = 16, ROWS = 6;  // 24 of 32 registers hold sums
#else
constexpr int VL = 8, ROWS = 3;  // 12 of 16
#endif
constexpr int GATES = 4;

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
struct bf16 {
    uint16_t bits;
};

static inline vf load(const float* p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float* p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf all(float x) { return x - (vf){}; }

static inline void store(bf16* p, vf v) {  // to nearest even; a NaN stays one
    typedef uint16_t vh __attribute__((vector_size(2 * VL)));
    vi bits;
    memcpy(&bits, &v, sizeof v);
    vi rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    vi kept = v == v ? rounded : (bits >> 16) | 0x40;
    vh half = __builtin_convertvector(kept, vh);
    memcpy(p, &half, sizeof half);
}

// e^x by 2^n e^r, |r| <= ln 2 / 2; relative error 2e-7; a NaN stays one
static inline vf exponential(vf x) {
    x = x > 88.0f ? all(88.0f) : x;
    x = x < -87.0f ? all(-87.0f) : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    vf shifted = x * 1.44269504088896f + magic;
    vf n = shifted - magic;
    vf r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    vi bits;
    memcpy(&bits, &shifted, sizeof bits);
    vi scale = (bits << 23) + 0x3f800000;
    vf s;
    memcpy(&s, &scale, sizeof s);
    return p * s;
}
static inline vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }
static inline vf tangent(vf x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

static inline float largest(vf x) {
    float a[VL];
    store(a, x);
    for (int half = VL / 2; half; half /= 2)
        for (int l = 0; l < half; l++) a[l] = a[l + half] > a[l] ? a[l + half] : a[l];
    return a[0];
}

static inline float total(vf x) {
    float a[VL];
    store(a, x);
    for (int half = VL / 2; half; half /= 2)
        for (int l = 0; l < half; l++) a[l] += a[l + half];
    return a[0];
}
