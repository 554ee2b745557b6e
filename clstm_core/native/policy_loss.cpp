// PPO's clipped surrogate, the policy's entropy and what is told of both, from masked logits: forward and backward.
//
//   loss = -E[min(r A, clip(r) A)],  r = exp(log pi(a) - log pi_old(a));  entropy = E[-sum p log p];  waits = E[p_hold]
//
// E is the mean over the steps with a choice, 0 without one. Arrays are row-major: logits [M, A], the rest [M].

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

constexpr float LEAST = -87.0f;  // a logit so far below the largest one has no probability in float32
enum Told { LOSS, ENTROPY, WAITS, KL, CLIPPED, TOLD };
enum Kept { TOP, MASS, SLOPE, H, KEPT };  // of each step; SLOPE: of its surrogate by its log ratio, H: its entropy

struct Row {
    std::vector<float> log_p, p;  // of every action; beyond them lanes whose probability is 0
    int64_t A, lanes;

    explicit Row(int64_t A) : A(A), lanes((A + VL - 1) / VL * VL) { log_p.resize(lanes, -INFINITY), p.resize(lanes); }

    void take(const float* logits, float top, float log_mass) {
        memcpy(log_p.data(), logits, sizeof(float) * A);
        for (int64_t a = 0; a < lanes; a += VL) {
            vf one = load(&log_p[a]) - top - log_mass;
            store(&log_p[a], one);
            store(&p[a], one < LEAST ? all(0.0f) : exponential(one));
        }
    }
    // the same of the largest logit and of the logarithm of all e^(logit - largest), which are given back
    void take_new(const float* logits, float* top, float* log_mass) {
        memcpy(log_p.data(), logits, sizeof(float) * A);
        vf most = all(-INFINITY), mass = {};
        for (int64_t a = 0; a < lanes; a += VL) most = load(&log_p[a]) > most ? load(&log_p[a]) : most;
        *top = largest(most);
        for (int64_t a = 0; a < lanes; a += VL) {
            vf one = load(&log_p[a]) - *top, e = one < LEAST ? all(0.0f) : exponential(one);
            store(&p[a], e);
            mass += e;
        }
        const float sum = total(mass), share = 1.0f / sum;
        *log_mass = std::log(sum);
        for (int64_t a = 0; a < lanes; a += VL) {
            store(&log_p[a], load(&log_p[a]) - *top - *log_mass);
            store(&p[a], load(&p[a]) * share);
        }
    }
    float entropy() const {
        vf sum = {};
        for (int64_t a = 0; a < lanes; a += VL) {
            vf one = load(&p[a]);
            sum -= one > 0.0f ? one * load(&log_p[a]) : one;
        }
        return total(sum);
    }
};

extern "C" {

// told: one number each; kept [M, KEPT]; share [1]: one over the number of steps with a choice
void policy_loss(const float* logits, const int64_t* action, const float* old_log_prob, const float* advantage,
                 const uint8_t* free_, float* const* told, float* kept, float* share, int64_t M, int64_t A, int64_t hold,
                 float clip) {
    Row row(A);
    double sums[TOLD] = {}, choices = 0.0;
    for (int64_t m = 0; m < M; m++, logits += A, kept += KEPT) {
        row.take_new(logits, &kept[TOP], &kept[MASS]);
        const float weight = free_[m];
        const float log_ratio = row.log_p[action[m]] - old_log_prob[m], ratio = std::exp(log_ratio);
        const float plain = ratio * advantage[m];
        const float held = std::min(std::max(ratio, 1.0f - clip), 1.0f + clip) * advantage[m];
        const float surrogate = held < plain ? held : plain, entropy = row.entropy();
        kept[SLOPE] = held < plain ? 0.0f : plain, kept[H] = entropy;
        choices += weight;
        sums[LOSS] -= weight * surrogate;
        sums[ENTROPY] += weight * entropy;
        sums[WAITS] += weight * row.p[hold];
        sums[KL] += weight * (std::expm1(log_ratio) - log_ratio);
        sums[CLIPPED] += weight * (std::abs(ratio - 1.0f) > clip);
    }
    *share = choices > 0.0 ? (float)(1.0 / choices) : 0.0f;
    for (int i = 0; i < TOLD; i++) *told[i] = (float)(sums[i] * *share);
}

// d_told: slopes of whatever is minimised by loss, entropy and waits
void policy_loss_back(const float* logits, const int64_t* action, const uint8_t* free_, const float* kept,
                      const float* share, const float* d_loss, const float* d_entropy, const float* d_waits,
                      float* d_logits, int64_t M, int64_t A, int64_t hold) {
    Row row(A);
    for (int64_t m = 0; m < M; m++, logits += A, d_logits += A, kept += KEPT) {
        row.take(logits, kept[TOP], kept[MASS]);
        const float weight = free_[m] * *share, taken = -*d_loss * kept[SLOPE], waits = *d_waits * row.p[hold];
        const float by_entropy = *d_entropy, entropy = kept[H], both = taken + waits;
        for (int64_t a = 0; a < row.lanes; a += VL) {
            vf p = load(&row.p[a]), log_p = load(&row.log_p[a]);
            store(&row.p[a], p > 0.0f ? -weight * p * (by_entropy * (log_p + entropy) + both) : p);
        }
        memcpy(d_logits, row.p.data(), sizeof(float) * A);
        d_logits[action[m]] += weight * taken;
        d_logits[hold] += weight * waits;
    }
}
}
