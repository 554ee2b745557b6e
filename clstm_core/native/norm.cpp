// LayerNorm over rows of H numbers, with a bias that may be added first: forward and backward.
//
//   y = (s - mean) / sqrt(var + eps) w + b,   s = x + bias
//
// Arrays are row-major: x, y [M, H], stats [M, 2] the mean of each row and one over its deviation.

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

constexpr int64_t BLOCK = 256;  // rows

extern "C" {

int units() { return VL; }  // H must be a multiple of it

// x is left as s
void normalise(float* x, const float* bias, const float* weight, const float* shift, float* y, float* stats, int64_t M,
               int64_t H, float eps) {
    for (int64_t m = 0; m < M; m++, x += H, y += H, stats += 2) {
        vf sum = {}, squares = {};
        for (int64_t u = 0; u < H; u += VL) {
            vf s = load(x + u);
            if (bias) store(x + u, s = s + load(bias + u));
            sum += s;
        }
        const float mean = total(sum) / H;
        for (int64_t u = 0; u < H; u += VL) squares += (load(x + u) - mean) * (load(x + u) - mean);
        const float scale = 1.0f / std::sqrt(total(squares) / H + eps);
        for (int64_t u = 0; u < H; u += VL)
            store(y + u, (load(x + u) - mean) * scale * load(weight + u) + load(shift + u));
        stats[0] = mean, stats[1] = scale;
    }
}

// d_x [M, H] is written; d_weight, d_shift and, where there is a bias, d_bias [H] are added to
void normalise_back(const float* d_y, const float* x, const float* stats, const float* weight, float* d_x,
                    float* d_weight, float* d_shift, float* d_bias, int64_t M, int64_t H) {
    std::vector<float> some(3 * H);  // sums of some rows: added one by one, long ones would lose what each adds
    float *of_weight = some.data(), *of_shift = of_weight + H, *of_bias = of_shift + H;
    for (int64_t m = 0; m < M; m++, d_y += H, x += H, d_x += H, stats += 2) {
        const float mean = stats[0], scale = stats[1];
        vf level = {}, lean = {};
        for (int64_t u = 0; u < H; u += VL) {
            vf plain = (load(x + u) - mean) * scale, slope = load(d_y + u);
            store(of_weight + u, load(of_weight + u) + slope * plain);
            store(of_shift + u, load(of_shift + u) + slope);
            slope *= load(weight + u);
            level += slope;
            lean += slope * plain;
        }
        const float of_level = total(level) / H, of_lean = total(lean) / H;
        for (int64_t u = 0; u < H; u += VL) {
            vf plain = (load(x + u) - mean) * scale;
            vf slope = scale * (load(d_y + u) * load(weight + u) - of_level - plain * of_lean);
            store(d_x + u, slope);
            store(of_bias + u, load(of_bias + u) + slope);
        }
        if ((m + 1) % BLOCK && m + 1 < M) continue;
        for (int64_t u = 0; u < H; u++) {
            d_weight[u] += of_weight[u], d_shift[u] += of_shift[u];
            if (d_bias) d_bias[u] += of_bias[u];
        }
        std::fill(some.begin(), some.end(), 0.0f);
    }
}
}
