// A trunk's output to a drawn action: LayerNorm, the policy head, illegal actions left out, one draw.
//
//   y = (x - mean) / sqrt(var + eps) w + b;   logits = W y + c;   action = argmax(logits - log noise)
//
// Arrays are row-major: x [N, H], W [A, H], mask [N, A], log_noise [N, A] the logarithms of exponential draws with mean 1:
// the smallest of noise / probability is the action drawn (the exponential race of Gumbel's trick).

#include <cmath>
#include <vector>

#include "vectors.h"

struct Head {
    const float *x, *norm_weight, *norm_bias, *weight, *bias;
    const uint8_t* mask;
    const float* log_noise;
    int64_t* action;
    float* log_prob;
    int64_t N, H, A;
    float eps, illegal;

    void run() const {
        const int64_t lanes = (A + VL - 1) / VL * VL;
        std::vector<float> y(H), logits(lanes, -INFINITY);
        for (int64_t n = 0; n < N; n++) {
            normalise(x + n * H, y.data());
            for (int64_t a = 0; a < A; a++) {
                vf sum = {};
                for (int64_t u = 0; u < H; u += VL) sum += load(&y[u]) * load(weight + a * H + u);
                logits[a] = mask[n * A + a] ? total(sum) + bias[a] : illegal;
            }
            vf most = all(-INFINITY), mass = {};
            for (int64_t a = 0; a < lanes; a += VL) most = load(&logits[a]) > most ? load(&logits[a]) : most;
            const float top = largest(most);
            for (int64_t a = 0; a < lanes; a += VL) {
                vf one = load(&logits[a]);
                mass += one < illegal ? all(0.0f) : exponential(one - top);  // a NaN stays one
            }
            float best = 0.0f;
            int64_t drawn = -1;
            for (int64_t a = 0; a < A; a++) {  // of legal actions alone, whatever their logits are
                const float score = logits[a] - log_noise[n * A + a];
                if (mask[n * A + a] && (drawn < 0 || score > best)) best = score, drawn = a;
            }
            action[n] = drawn < 0 ? 0 : drawn;
            log_prob[n] = logits[action[n]] - top - std::log(total(mass));  // in the order of policy_loss.cpp
        }
    }

    void normalise(const float* from, float* y) const {
        vf sum = {}, squares = {};
        for (int64_t u = 0; u < H; u += VL) sum += load(from + u);
        const float mean = total(sum) / H;
        for (int64_t u = 0; u < H; u += VL) squares += (load(from + u) - mean) * (load(from + u) - mean);
        const float scale = 1.0f / std::sqrt(total(squares) / H + eps);
        for (int64_t u = 0; u < H; u += VL)
            store(y + u, (load(from + u) - mean) * scale * load(norm_weight + u) + load(norm_bias + u));
    }
};

extern "C" {

int units() { return VL; }  // H must be a multiple of it

void decide(const float* x, const float* norm_weight, const float* norm_bias, const float* weight, const float* bias,
            const uint8_t* mask, const float* log_noise, int64_t* action, float* log_prob, int64_t N, int64_t H, int64_t A,
            float eps, float illegal) {
    Head{x, norm_weight, norm_bias, weight, bias, mask, log_noise, action, log_prob, N, H, A, eps, illegal}.run();
}
}
