// One step of Adam over several arrays, whose gradients are first clipped to a joint norm.
//
//   g = gradient min(1, most / (norm + 1e-6));   m += (1 - b1) (g - m);   v = b2 v + (1 - b2) g^2
//   parameter -= rate / (1 - b1^k) m / (sqrt(v / (1 - b2^k)) + eps),   k the steps taken, this one included

#include <algorithm>
#include <cmath>

#include "vectors.h"

constexpr int64_t BLOCK = 4096;  // numbers that are added up in float, before their sum goes on in double

static double squares(const float* x, int64_t size) {
    double sum = 0.0;
    for (int64_t block = 0; block < size; block += BLOCK) {
        const int64_t end = std::min(size, block + BLOCK);
        vf sums[2] = {};
        int64_t i = block;
        for (; i + 2 * VL <= end; i += 2 * VL) {
            sums[0] += load(x + i) * load(x + i);
            sums[1] += load(x + i + VL) * load(x + i + VL);
        }
        float rest = 0.0f;
        for (; i < end; i++) rest += x[i] * x[i];
        sum += total(sums[0] + sums[1]) + rest;
    }
    return sum;
}

extern "C" {

// `arrays` [5, count]: parameters, gradients, m, v, and steps of one number each; `rates` [count]; `norm` is written
void descend(float* const* arrays, const int64_t* sizes, const double* rates, int64_t count, double beta1, double beta2,
             double epsilon, double most, float* norm) {
    double sum = 0.0;
    for (int64_t a = 0; a < count; a++) sum += squares(arrays[count + a], sizes[a]);
    *norm = (float)std::sqrt(sum);
    const float ratio = (float)most / (*norm + 1e-6f), clip = ratio > 1.0f ? 1.0f : ratio;  // a NaN stays one
    const float mix = (float)(1.0 - beta1), keep = (float)beta2, add = (float)(1.0 - beta2), least = (float)epsilon;
    for (int64_t a = 0; a < count; a++) {
        float *parameter = arrays[a], *m = arrays[2 * count + a], *v = arrays[3 * count + a];
        const float* gradient = arrays[count + a];
        const double step = *arrays[4 * count + a] += 1.0f;
        const float rate = (float)(rates[a] / (1.0 - std::pow(beta1, step)));
        const float level = (float)std::sqrt(1.0 - std::pow(beta2, step));
#pragma GCC ivdep
        for (int64_t i = 0; i < sizes[a]; i++) {
            const float g = gradient[i] * clip;
            m[i] += mix * (g - m[i]);
            v[i] = keep * v[i] + add * g * g;
            parameter[i] -= rate * m[i] / (std::sqrt(v[i]) / level + least);
        }
    }
}
}
