// Attention of each step over a window of the last W outputs, within its episode: forward and backward.
//
//   score_j = scale q_t . (k_s + age_j),  s = t + j of W - 1 stored slots and T new ones;   out_t = sum softmax(score)_j v_s
//
// Sequences and heads are independent. Arrays are row-major: q, k, v, out [T, N, H] of the new steps, past_k and
// past_v [N, W - 1, H], age [W, H], weights [N, heads, T, L] where L is W made
// a multiple of VL; a head is D = H / heads numbers of H, a multiple of VL too.

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

struct Window {
    const float *q, *k, *v, *past_k, *past_v, *age;
    const uint8_t *valid, *start;  // [N, W - 1]: slots that are filled; [T, N]: an episode starts
    float scale;
    int64_t T, N, H, D, W;

    int64_t past() const { return W - 1; }
    int64_t lanes() const { return (W + VL - 1) / VL * VL; }
    const float* row(const float* fresh, const float* stored, int64_t n, int64_t s, int64_t head) const {
        return s < past() ? stored + (n * past() + s) * H + head * D : fresh + ((s - past()) * N + n) * H + head * D;
    }
    // columns [D][S + lanes]: what a vector of slots reads from its first slot on
    void turn(float* columns, const float* fresh, const float* stored, int64_t n, int64_t head) const {
        const int64_t S = past() + T, width = S + lanes();
        for (int64_t s = 0; s < S; s++) {
            const float* from = row(fresh, stored, n, s, head);
            for (int64_t d = 0; d < D; d++) columns[d * width + s] = from[d];
        }
    }
    // bias [T, L]: 0 where a step may look, -inf elsewhere
    void visible(float* bias, int64_t n) const {
        int64_t began = 0;  // the slot from which on the episode's outputs are
        for (int64_t t = 0; t < T; t++, bias += lanes()) {
            if (start[t * N + n]) began = past() + t;
            for (int64_t j = 0; j < lanes(); j++) bias[j] = j < W && t + j >= began ? 0.0f : -INFINITY;
            for (int64_t s = t; s < past() && began == 0; s++)
                if (!valid[n * past() + s]) bias[s - t] = -INFINITY;
        }
    }
};

static void forward(const Window& w, float* out, float* weights) {
    const int64_t S = w.past() + w.T, L = w.lanes(), width = S + L, heads = w.H / w.D;
    std::vector<float> columns(w.D * width), ages(w.H * L), bias(w.T * L);
    for (int64_t j = 0; j < w.W; j++)
        for (int64_t x = 0; x < w.H; x++) ages[x * L + j] = w.age[j * w.H + x];
    for (int64_t n = 0; n < w.N; n++) {
        w.visible(bias.data(), n);
        for (int64_t head = 0; head < heads; head++) {
            w.turn(columns.data(), w.k, w.past_k, n, head);
            for (int64_t t = 0; t < w.T; t++) {
                const float *q = w.q + (t * w.N + n) * w.H + head * w.D, *seen = &bias[t * L];
                const float* age = &ages[head * w.D * L];
                float* kept = weights + ((n * heads + head) * w.T + t) * L;
                vf most = all(-INFINITY), mass = {};
                for (int64_t j = 0; j < L; j += VL) {
                    vf score = {}, hidden = load(seen + j);
                    for (int64_t d = 0; d < w.D; d++)
                        score += q[d] * (load(&columns[d * width + t + j]) + load(age + d * L + j));
                    score = hidden < 0.0f ? hidden : score * w.scale;  // what is not seen may be anything, a NaN too
                    store(kept + j, score);
                    most = score > most ? score : most;
                }
                const float top = largest(most);
                for (int64_t j = 0; j < L; j += VL) {
                    vf e = load(seen + j) < 0.0f ? all(0.0f) : exponential(load(kept + j) - top);
                    store(kept + j, e);
                    mass += e;
                }
                const float share = 1.0f / total(mass);
                for (int64_t j = 0; j < L; j += VL) store(kept + j, load(kept + j) * share);
                float* to = out + (t * w.N + n) * w.H + head * w.D;
                for (int64_t d = 0; d < w.D; d += VL) {
                    vf mixed = {};
                    for (int64_t j = 0; j < w.W; j++)
                        if (kept[j] != 0.0f) mixed += kept[j] * load(w.row(w.v, w.past_v, n, t + j, head) + d);
                    store(to + d, mixed);
                }
            }
        }
    }
}

struct Gradients {
    float *q, *k, *v, *past_k, *past_v, *age;  // those of what is written over and over are zero before
    float* row(float* fresh, float* stored, const Window& w, int64_t n, int64_t s, int64_t head) const {
        return const_cast<float*>(w.row(fresh, stored, n, s, head));
    }
};

static inline void add(float* to, vf x) { store(to, load(to) + x); }

static void backward(const Window& w, const float* weights, const float* d_out, const Gradients& g) {
    const int64_t S = w.past() + w.T, L = w.lanes(), width = S + L, heads = w.H / w.D;
    std::vector<float> columns(w.D * width), slope(L);
    for (int64_t head = 0; head < heads; head++)
        for (int64_t n = 0; n < w.N; n++) {
            w.turn(columns.data(), w.v, w.past_v, n, head);
            for (int64_t t = 0; t < w.T; t++) {
                const int64_t at = (t * w.N + n) * w.H + head * w.D;
                const float *d_to = d_out + at, *q = w.q + at;
                const float* kept = weights + ((n * heads + head) * w.T + t) * L;
                vf weighted = {};
                for (int64_t j = 0; j < L; j += VL) {
                    vf sum = {}, weight = load(kept + j);
                    for (int64_t d = 0; d < w.D; d++) sum += d_to[d] * load(&columns[d * width + t + j]);
                    store(&slope[j], sum);
                    weighted += weight == 0.0f ? all(0.0f) : weight * sum;
                }
                const float mean = total(weighted);
                for (int64_t d = 0; d < w.D; d += VL) {
                    const vf query = load(q + d) * w.scale, d_mixed = load(d_to + d);
                    vf d_query = {};
                    for (int64_t j = 0; j < w.W; j++) {
                        if (kept[j] == 0.0f) continue;  // what was not seen may be anything
                        const int64_t s = t + j;
                        const float d_score = kept[j] * (slope[j] - mean);
                        float* age = g.age + j * w.H + head * w.D + d;
                        d_query += d_score * (load(w.row(w.k, w.past_k, n, s, head) + d) +
                                              load(w.age + j * w.H + head * w.D + d));
                        add(g.row(g.k, g.past_k, w, n, s, head) + d, d_score * query);
                        add(g.row(g.v, g.past_v, w, n, s, head) + d, kept[j] * d_mixed);
                        add(age, d_score * query);
                    }
                    store(g.q + at + d, d_query * w.scale);
                }
            }
        }
}

// One step: the ring moves on by one, forgotten first where an episode starts, and every head mixes what it holds.
// Keys are not projected: `folded` [N, heads, H] is the scaled query taken back through their weights.
struct Ring {
    const float *folded, *age_score, *memory, *h;  // age_score [N, heads, W]: of query and age; memory [N, W, H]
    const uint8_t *valid, *start;                  // [N, W], [N]
    float* moved;                                  // [N, W, H]
    uint8_t* filled;                               // [N, W]
    float* mixed;                                  // [N, heads, H]
    int64_t N, H, W, heads;

    void run() const {
        std::vector<float> score(W + VL);
        for (int64_t n = 0; n < N; n++) {
            float* rows = moved + n * W * H;
            uint8_t* seen = filled + n * W;
            if (start[n]) {
                memset(rows, 0, sizeof(float) * (W - 1) * H);
                memset(seen, 0, W - 1);
            } else {
                memcpy(rows, memory + n * W * H + H, sizeof(float) * (W - 1) * H);
                memcpy(seen, valid + n * W + 1, W - 1);
            }
            memcpy(rows + (W - 1) * H, h + n * H, sizeof(float) * H);
            seen[W - 1] = 1;
            for (int64_t head = n * heads; head < (n + 1) * heads; head++) mix(rows, seen, head, score.data());
        }
    }

    void mix(const float* rows, const uint8_t* seen, int64_t head, float* score) const {
        const float* asked = folded + head * H;
        vf most = all(-INFINITY), mass = {};
        for (int64_t j = 0; j < W + VL; j++) score[j] = -INFINITY;
        for (int64_t j = 0; j < W; j++) {
            if (!seen[j]) continue;
            vf sum = {};
            for (int64_t x = 0; x < H; x += VL) sum += load(asked + x) * load(rows + j * H + x);
            score[j] = total(sum) + age_score[head * W + j];
        }
        for (int64_t j = 0; j < W; j += VL) most = load(score + j) > most ? load(score + j) : most;
        const float top = largest(most);
        for (int64_t j = 0; j < W; j += VL) {
            vf one = load(score + j), e = one == -INFINITY ? all(0.0f) : exponential(one - top);
            store(score + j, e);
            mass += e;
        }
        const float share = 1.0f / total(mass);
        for (int64_t x = 0; x < H; x += VL) {
            vf sum = {};
            for (int64_t j = 0; j < W; j++)
                if (seen[j]) sum += score[j] * load(rows + j * H + x);
            store(mixed + head * H + x, sum * share);
        }
    }
};

extern "C" {

void attend_step(const float* folded, const float* age_score, const float* memory, const float* h,
                 const uint8_t* valid, const uint8_t* start, float* moved, uint8_t* filled, float* mixed, int64_t N,
                 int64_t H, int64_t W, int64_t heads) {
    Ring{folded, age_score, memory, h, valid, start, moved, filled, mixed, N, H, W, heads}.run();
}

int units() { return VL; }  // D must be a multiple of it

void attend(const float* q, const float* k, const float* v, const float* past_k, const float* past_v, const float* age,
            const uint8_t* valid, const uint8_t* start, float* out, float* weights, int64_t T, int64_t N, int64_t H,
            int64_t D, int64_t W) {
    forward({q, k, v, past_k, past_v, age, valid, start, 1.0f / std::sqrt((float)D), T, N, H, D, W}, out, weights);
}

void attend_back(const float* q, const float* k, const float* v, const float* past_k, const float* past_v,
                 const float* age, const uint8_t* valid, const uint8_t* start, const float* weights,
                 const float* d_out, float* d_q, float* d_k, float* d_v, float* d_past_k, float* d_past_v,
                 float* d_age, int64_t T, int64_t N, int64_t H, int64_t D, int64_t W) {
    backward({q, k, v, past_k, past_v, age, valid, start, 1.0f / std::sqrt((float)D), T, N, H, D, W}, weights, d_out,
             {d_q, d_k, d_v, d_past_k, d_past_v, d_age});
}
}
