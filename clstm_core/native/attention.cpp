// Attention of each step over a window of the last W outputs, within its episode: forward and backward.
//
//   score_j = scale q_t . (k_s + age_j),  s = t + j of W - 1 stored slots and T new ones;   out_t = sum softmax(score)_j v_s
//
// Sequences and heads are independent. Arrays are row-major: qkv [T, N, 3, H] of the new steps, past [N, W, 2, H] the
// keys and values of the ring before them, whose oldest slot no step sees, valid [N, W] which of it is filled, out
// [T, N, H], age [W, H], weights [N, heads, T, L] where L is W made a multiple of VL; a head is D = H / heads numbers of
// H, a multiple of VL too.

#include <algorithm>
#include <cmath>
#include <vector>

#include "vectors.h"

enum Part { QUERY, KEY, VALUE };

struct Window {
    const float *qkv, *stored, *age;
    const uint8_t *valid, *start;
    int64_t T, N, H, D, W;

    float scale() const { return 1.0f / std::sqrt((float)D); }
    int64_t past() const { return W - 1; }
    int64_t slots() const { return past() + T; }
    int64_t lanes() const { return (W + VL - 1) / VL * VL; }
    int64_t at(int64_t n, int64_t t, int64_t head) const { return (t * N + n) * H + head * D; }
    int64_t of(Part part, int64_t n, int64_t t, int64_t head) const { return ((t * N + n) * 3 + part) * H + head * D; }
    int64_t of_past(Part part, int64_t n, int64_t s, int64_t head) const {
        return ((n * W + s + 1) * 2 + part - KEY) * H + head * D;
    }
    bool filled(int64_t n, int64_t s) const { return valid[n * W + s + 1]; }
    const float* query(int64_t n, int64_t t, int64_t head) const { return qkv + of(QUERY, n, t, head); }

    // rows [S, D] of one head: the stored slots, zero where they are not filled, then the new steps
    void gather(float* rows, Part part, int64_t n, int64_t head) const {
        for (int64_t s = 0; s < past(); s++, rows += D)
            if (filled(n, s))
                memcpy(rows, stored + of_past(part, n, s, head), sizeof(float) * D);
            else
                memset(rows, 0, sizeof(float) * D);  // what is not filled may hold anything
        for (int64_t t = 0; t < T; t++, rows += D) memcpy(rows, qkv + of(part, n, t, head), sizeof(float) * D);
    }
    // columns [D, S + lanes] of rows: what a vector of slots reads from its first slot on
    void turn(float* columns, const float* rows) const {
        const int64_t width = slots() + lanes();
        for (int64_t s = 0; s < slots(); s++)
            for (int64_t d = 0; d < D; d++) columns[d * width + s] = rows[s * D + d];
    }
    // bias [T, L]: 0 where a step may look, -inf elsewhere
    void visible(float* bias, int64_t n) const {
        int64_t began = 0;  // the slot from which on the episode's outputs are
        for (int64_t t = 0; t < T; t++, bias += lanes()) {
            if (start[t * N + n]) began = past() + t;
            for (int64_t j = 0; j < lanes(); j++) bias[j] = j < W && t + j >= began ? 0.0f : -INFINITY;
            for (int64_t s = t; s < past() && began == 0; s++)
                if (!filled(n, s)) bias[s - t] = -INFINITY;
        }
    }
};

constexpr int QUERIES = 4;  // looked at side by side: each alone would wait for its own sums

struct Forward {
    const Window& w;
    float *out, *weights;
    int64_t S, L, width, heads;
    std::vector<float> keys, values, columns, ages, bias;

    Forward(const Window& w, float* out, float* weights)
        : w(w), out(out), weights(weights), S(w.slots()), L(w.lanes()), width(S + L), heads(w.H / w.D), keys(S * w.D),
          values((S + QUERIES) * w.D), columns(w.D * (width + QUERIES)), ages(w.H * L), bias((w.T + QUERIES) * L) {}

    void run() {
        for (int64_t j = 0; j < w.W; j++)
            for (int64_t x = 0; x < w.H; x++) ages[x * L + j] = w.age[j * w.H + x];
        for (int64_t n = 0; n < w.N; n++) {
            w.visible(bias.data(), n);
            for (int64_t head = 0; head < heads; head++) {
                w.gather(keys.data(), KEY, n, head);
                w.gather(values.data(), VALUE, n, head);
                w.turn(columns.data(), keys.data());
                int64_t t = 0;
                for (; t + QUERIES <= w.T; t += QUERIES) look<QUERIES>(n, head, t);
                for (; t < w.T; t++) look<1>(n, head, t);
            }
        }
    }

    template <int R>
    void look(int64_t n, int64_t head, int64_t t) {
        const float *q[R], *age = &ages[head * w.D * L];
        float* kept = weights + ((n * heads + head) * w.T + t) * L;
        vf most[R], mass[R] = {};
        for (int r = 0; r < R; r++) q[r] = w.query(n, t + r, head), most[r] = all(-INFINITY);
        for (int64_t j = 0; j < L; j += VL) {
            vf score[R] = {};
            for (int64_t d = 0; d < w.D; d++) {
                vf old = load(age + d * L + j);
                for (int r = 0; r < R; r++) score[r] += q[r][d] * (load(&columns[d * width + t + r + j]) + old);
            }
            for (int r = 0; r < R; r++) {
                vf hidden = load(&bias[(t + r) * L + j]);
                score[r] = hidden < 0.0f ? hidden : score[r] * w.scale();
                most[r] = score[r] > most[r] ? score[r] : most[r];
                store(kept + r * L + j, score[r]);
            }
        }
        for (int r = 0; r < R; r++) most[r] = all(largest(most[r]));
        for (int64_t j = 0; j < L; j += VL)
            for (int r = 0; r < R; r++) {
                vf e = load(&bias[(t + r) * L + j]) < 0.0f ? all(0.0f) : exponential(load(kept + r * L + j) - most[r]);
                store(kept + r * L + j, e);
                mass[r] += e;
            }
        for (int r = 0; r < R; r++) {
            const float share = 1.0f / total(mass[r]);
            for (int64_t j = 0; j < L; j += VL) store(kept + r * L + j, load(kept + r * L + j) * share);
        }
        for (int64_t d = 0; d < w.D; d += VL) {
            vf mixed[R] = {};
            for (int64_t j = 0; j < w.W; j++)
                for (int r = 0; r < R; r++) mixed[r] += kept[r * L + j] * load(&values[(t + r + j) * w.D + d]);
            for (int r = 0; r < R; r++) store(out + w.at(n, t + r, head) + d, mixed[r]);
        }
    }
};

struct Gradients {
    float *qkv, *stored, *age;  // as in Window; age is added to, the others are written
};

struct Backward {
    const Window& w;
    const float *weights, *d_out;
    const Gradients& g;
    int64_t S, L, width, heads;
    std::vector<float> keys, values, columns, slope;  // slope [T, L]: of the loss, per score

    Backward(const Window& w, const float* weights, const float* d_out, const Gradients& g)
        : w(w), weights(weights), d_out(d_out), g(g), S(w.slots()), L(w.lanes()), width(S + L), heads(w.H / w.D),
          keys(S * w.D), values(S * w.D), columns(w.D * width), slope(w.T * L) {}

    void run() {
        for (int64_t n = 0; n < w.N; n++) {
            memset(g.stored + n * w.W * 2 * w.H, 0, sizeof(float) * 2 * w.H);  // the oldest slot's
            for (int64_t head = 0; head < heads; head++) {
                w.gather(keys.data(), KEY, n, head);
                w.gather(values.data(), VALUE, n, head);
                w.turn(columns.data(), values.data());
                const float* kept = weights + (n * heads + head) * w.T * L;
                for (int64_t t = 0; t < w.T; t++) slopes(n, head, t, kept + t * L);
                for (int64_t d = 0; d < w.D; d += VL) {
                    for (int64_t t = 0; t < w.T; t++) query(n, head, t, d);
                    for (int64_t s = 0; s < S; s++) slot(n, head, s, d, kept);
                    for (int64_t j = 0; j < w.W; j++) age(n, head, j, d);
                }
            }
        }
    }

    void slopes(int64_t n, int64_t head, int64_t t, const float* kept) {
        const float* d_to = d_out + w.at(n, t, head);
        vf weighted = {};
        for (int64_t j = 0; j < L; j += VL) {
            vf sum = {};
            for (int64_t d = 0; d < w.D; d++) sum += d_to[d] * load(&columns[d * width + t + j]);
            store(&slope[t * L + j], sum);
            weighted += load(kept + j) * sum;
        }
        const float mean = total(weighted);
        for (int64_t j = 0; j < L; j += VL)
            store(&slope[t * L + j], load(kept + j) * (load(&slope[t * L + j]) - mean) * w.scale());
    }

    void query(int64_t n, int64_t head, int64_t t, int64_t d) const {
        vf sum = {};
        for (int64_t j = 0; j < w.W; j++)
            sum += slope[t * L + j] * (load(&keys[(t + j) * w.D + d]) + load(w.age + j * w.H + head * w.D + d));
        store(g.qkv + w.of(QUERY, n, t, head) + d, sum);
    }

    void slot(int64_t n, int64_t head, int64_t s, int64_t d, const float* kept) const {
        vf d_key = {}, d_value = {};
        for (int64_t t = std::max<int64_t>(0, s - w.past()); t <= std::min(s, w.T - 1); t++) {
            d_key += slope[t * L + s - t] * load(w.query(n, t, head) + d);
            d_value += kept[t * L + s - t] * load(d_out + w.at(n, t, head) + d);
        }
        const int64_t t = s - w.past();
        store((t < 0 ? g.stored + w.of_past(KEY, n, s, head) : g.qkv + w.of(KEY, n, t, head)) + d, d_key);
        store((t < 0 ? g.stored + w.of_past(VALUE, n, s, head) : g.qkv + w.of(VALUE, n, t, head)) + d, d_value);
    }

    void age(int64_t n, int64_t head, int64_t j, int64_t d) const {
        float* to = g.age + j * w.H + head * w.D + d;
        vf sum = {};  // of a sequence: added one by one, long sums would lose what each adds
        for (int64_t t = 0; t < w.T; t++) sum += slope[t * L + j] * load(w.query(n, t, head) + d);
        store(to, load(to) + sum);
    }
};

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

void attend(const float* qkv, const float* past, const float* age, const uint8_t* valid, const uint8_t* start, float* out,
            float* weights, int64_t T, int64_t N, int64_t H, int64_t D, int64_t W) {
    const Window window{qkv, past, age, valid, start, T, N, H, D, W};
    Forward(window, out, weights).run();
}

void attend_back(const float* qkv, const float* past, const float* age, const uint8_t* valid, const uint8_t* start,
                 const float* weights, const float* d_out, float* d_qkv, float* d_past, float* d_age, int64_t T,
                 int64_t N, int64_t H, int64_t D, int64_t W) {
    const Window window{qkv, past, age, valid, start, T, N, H, D, W};
    Backward(window, weights, d_out, {d_qkv, d_past, d_age}).run();
}
}
