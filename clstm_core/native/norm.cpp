// LayerNorm over rows of H numbers, with a bias that may be added first: forward and backward.
//
//   y = (s - mean) / sqrt(var + eps) w + b,   s = x + bias
//
// Arrays are row-major: x, y [M, H], stats [M, 2] the mean of each row and one over its deviation.

#include <cmath>

#include "vectors.h"

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
    for (int64_t m = 0; m < M; m++, d_y += H, x += H, d_x += H, stats += 2) {
        const float mean = stats[0], scale = stats[1];
        vf level = {}, lean = {};
        for (int64_t u = 0; u < H; u += VL) {
            vf plain = (load(x + u) - mean) * scale, slope = load(d_y + u);
            store(d_weight + u, load(d_weight + u) + slope * plain);
            store(d_shift + u, load(d_shift + u) + slope);
            slope *= load(weight + u);
            level += slope;
            lean += slope * plain;
        }
        const float of_level = total(level) / H, of_lean = total(lean) / H;
        for (int64_t u = 0; u < H; u += VL) {
            vf plain = (load(x + u) - mean) * scale;
            vf slope = scale * (load(d_y + u) * load(weight + u) - of_level - plain * of_lean);
            store(d_x + u, slope);
            if (d_bias) store(d_bias + u, load(d_bias + u) + slope);
        }
    }
}
}
