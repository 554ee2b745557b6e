// One LSTM layer over a sequence of steps, with resets inside the sequence: forward and backward.
//
//   i, f, o = sigmoid(.), g = tanh(.) of  bias + x W_ih^T + h W_hh^T;   c' = f c + i g;   h' = o tanh(c')
//
// Rows (sequences) are independent: whoever computes a row, in whatever company, gets the same bits. Products are of
// elements E (float, or bfloat16 where the processor multiplies it) and are added up in float; the state is float.
// A panel of weights holds the four gates of VL units side by side, so that a row's gates are in registers when the
// products are done. Arrays are row-major: x [T, N, F], states [T, N, H], gates [T, N, 4, H], and read [T, N, E]: what
// a step's products read, its input and the h before it (zero where an episode starts). E is F + H, and one more where
// that is odd: bfloat16 is multiplied in pairs.

#include <algorithm>
#include <vector>

#include "tiles.h"
#include "vectors.h"

// sums[r][v] += row r (K elements) times a panel [K][V][VL]; for bfloat16 [K / 2][V][VL][2]. Functions of their own, with
// sums of their own: inlined, the compiler keeps too much in registers besides and loses a quarter of the speed.
template <int R, int V>
__attribute__((noinline)) static void multiply(vf (&sums)[R][V], const float* const* rows, const float* panel, int64_t K) {
    vf own[R][V];
    memcpy(own, sums, sizeof own);
    for (int64_t k = 0; k < K; k++, panel += V * VL) {
        vf weight[V];
        for (int v = 0; v < V; v++) weight[v] = load(panel + v * VL);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) own[r][v] += rows[r][k] * weight[v];
    }
    memcpy(sums, own, sizeof own);
}

template <int R, int V>
__attribute__((noinline)) static void multiply(vf (&sums)[R][V], const bf16* const* rows, const bf16* panel, int64_t K) {
#if defined(__AVX512BF16__)
    __m512 own[R][V];
    memcpy(own, sums, sizeof own);
    for (int64_t k = 0; k < K; k += 2, panel += 2 * V * VL) {
        __m512bh weight[V];
        for (int v = 0; v < V; v++) memcpy(&weight[v], panel + 2 * v * VL, sizeof weight[v]);
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, rows[r] + k, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            for (int v = 0; v < V; v++) own[r][v] = _mm512_dpbf16_ps(own[r][v], both, weight[v]);
        }
    }
    memcpy(sums, own, sizeof own);
#endif
}

static inline void put(float* panel, int64_t k, int width, int lane, float x) { panel[k * width + lane] = x; }
static inline void put(bf16* panel, int64_t k, int width, int lane, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = x == x ? bits + 0x7fff + ((bits >> 16) & 1) : bits | 0x400000;
    panel[(k / 2) * 2 * width + 2 * lane + k % 2].bits = (uint16_t)(bits >> 16);
}

static int64_t even(int64_t size) { return size + size % 2; }

template <class E>
static void pack(const float* w_ih, const float* w_hh, E* ahead, E* back, int64_t F, int64_t H) {
    const int width = GATES * VL;
    for (int64_t u = 0; u < H / VL; u++, ahead += even(F + H) * width)
        for (int gate = 0; gate < GATES; gate++)
            for (int64_t some = 0; some < even(F + H); some += VL)  // columns whose lines stay in the first cache
                for (int lane = 0; lane < VL; lane++) {
                    const int64_t row = gate * H + u * VL + lane;
                    for (int64_t k = some; k < std::min(some + VL, even(F + H)); k++) {
                        const float x = k < F ? w_ih[row * F + k] : k < F + H ? w_hh[row * H + k - F] : 0.0f;
                        put(ahead, k, width, gate * VL + lane, x);
                    }
                }
    for (int64_t first = 0; first < H;) {  // panels of 4 VL columns, then of one
        const int lanes = H - first >= GATES * VL ? GATES * VL : VL;
        for (int64_t k = 0; k < 4 * H; k++)
            for (int lane = 0; lane < lanes; lane++) put(back, k, lanes, lane, w_hh[k * H + first + lane]);
        first += lanes;
        back += 4 * H * lanes;
    }
}

template <class E>
struct Forward {
    const float* x;
    const uint8_t* start;
    const float *h0, *c0, *bias;
    const E* ahead;
    float *outputs, *cells, *gates;
    E* read;  // [keep, N, E]: without a backward pass two slots are written over and over
    int64_t T, N, F, H, keep;

    int64_t width() const { return even(F + H); }
    E* read_of(int64_t t, int64_t n) const { return read + ((t % keep) * N + n) * width(); }

    void take(int64_t t) const {  // the step's inputs
        for (int64_t n = 0; n < N; n++) {
            const float* from = x + (t * N + n) * F;
            E* to = read_of(t, n);
            int64_t k = 0;
            for (; k + VL <= F; k += VL) store(to + k, load(from + k));
            for (; k < F; k++) put(to, k, 1, 0, from[k]);
            if ((F + H) % 2) put(to, F + H, 1, 0, 0.0f);
        }
    }

    template <int R>
    void rows(int64_t t, int64_t n, int64_t u) const {
        const E* given[R];
        for (int r = 0; r < R; r++) given[r] = read_of(t, n + r);
        vf sums[R][GATES];
        for (int r = 0; r < R; r++)
            for (int gate = 0; gate < GATES; gate++) sums[r][gate] = load(bias + gate * H + u);
        multiply<R, GATES>(sums, given, ahead + (u / VL) * width() * GATES * VL, width());
        for (int r = 0; r < R; r++) finish(t, n + r, u, sums[r]);
    }

    void finish(int64_t t, int64_t n, int64_t u, const vf* sums) const {
        const int64_t at = n * H + u, row = t * N + n;
        const float* last = t ? cells + (t - 1) * N * H : c0;
        vf i = sigmoid(sums[0]), f = sigmoid(sums[1]), o = sigmoid(sums[2]), g = tangent(sums[3]);
        vf c = f * (start[row] ? all(0.0f) : load(last + at)) + i * g;
        vf h = o * tangent(c);
        store(cells + t * N * H + at, c);
        store(outputs + t * N * H + at, h);
        if (gates) {
            float* kept = gates + row * GATES * H + u;
            store(kept, i), store(kept + H, f), store(kept + 2 * H, o), store(kept + 3 * H, g);
        }
        if (t + 1 < T) store(read_of(t + 1, n) + F + u, start[row + N] ? all(0.0f) : h);
    }

    // the products of up to TILE rows at once, for whom there is always room in the tiles: beyond N they are zero
    void tiled(int64_t t, const Tiles& tiles) const {
        alignas(64) float sums[TILE * GATES * VL];
        for (int64_t n = 0; n < N; n += TILE) {
            const int64_t some = std::min<int64_t>(TILE, N - n);
            const E* given = tiles.whole(read_of(t, n), some, width());
            for (int64_t u = 0; u < H; u += VL) {
                tiles.multiply<GATES>(sums, given, ahead + (u / VL) * width() * GATES * VL, width());
                for (int64_t r = 0; r < some; r++) {
                    vf own[GATES];
                    for (int gate = 0; gate < GATES; gate++)
                        own[gate] = load(bias + gate * H + u) + load(sums + (r * GATES + gate) * VL);
                    finish(t, n + r, u, own);
                }
            }
        }
    }

    void run() const {
        if (!T) return;  // `read` has no slot
        const Tiles tiles(sizeof(E) == sizeof(bf16), width());
        for (int64_t n = 0; n < N; n++)
            for (int64_t u = 0; u < H; u += VL) store(read_of(0, n) + F + u, start[n] ? all(0.0f) : load(h0 + n * H + u));
        for (int64_t t = 0; t < T; t++) {
            take(t);
            if constexpr (sizeof(E) == sizeof(bf16))
                if (tiles.had) {
                    tiled(t, tiles);
                    continue;
                }
            for (int64_t u = 0; u < H; u += VL) {
                int64_t n = 0;
                for (; n + ROWS <= N; n += ROWS) rows<ROWS>(t, n, u);
                for (; n < N; n++) rows<1>(t, n, u);
            }
        }
    }
};

template <class E>
struct Backward {
    const float *d_outputs, *d_cells, *gates, *cells, *c0;
    const uint8_t* start;
    const E* back;
    E* d_gates;  // where products are of float, it may be `gates` itself
    float *d_bias, *dh, *dc;  // dh, dc: of the given state in the end
    int64_t T, N, H;

    void gate_slopes(int64_t t, int64_t n, int64_t u, float* d_bias) const {
        const int64_t row = t * N + n, at = row * H + u;
        const float* kept = gates + row * GATES * H + u;
        vf i = load(kept), f = load(kept + H), o = load(kept + 2 * H), g = load(kept + 3 * H);
        vf d_h = load(dh + n * H + u), d_c = load(dc + n * H + u);
        if (d_outputs) d_h += load(d_outputs + at);
        if (d_cells) d_c += load(d_cells + at);
        vf tanh_c = tangent(load(cells + at));
        d_c += d_h * o * (1.0f - tanh_c * tanh_c);
        vf last = start[row] ? all(0.0f) : load(t ? cells + at - N * H : c0 + n * H + u);
        const vf slopes[GATES] = {d_c * g * i * (1.0f - i), d_c * last * f * (1.0f - f),
                                  d_h * tanh_c * o * (1.0f - o), d_c * i * (1.0f - g * g)};
        for (int gate = 0; gate < GATES; gate++) {
            store(d_gates + row * GATES * H + gate * H + u, slopes[gate]);
            store(d_bias + gate * H + u, load(d_bias + gate * H + u) + slopes[gate]);
        }
        store(dc + n * H + u, start[row] ? all(0.0f) : d_c * f);
    }

    template <int R, int V>
    void rows(int64_t t, int64_t n, int64_t first, const E* panel) const {
        const E* slopes[R];
        for (int r = 0; r < R; r++) slopes[r] = d_gates + (t * N + n + r) * GATES * H;
        vf sums[R][V] = {};
        multiply<R, V>(sums, slopes, panel, GATES * H);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++)
                store(dh + (n + r) * H + first + v * VL, start[t * N + n + r] ? all(0.0f) : sums[r][v]);
    }

    template <int V>
    void tiled(int64_t t, int64_t first, const E* panel, const Tiles& tiles) const {
        alignas(64) float sums[TILE * V * VL];
        for (int64_t n = 0; n < N; n += TILE) {
            const int64_t some = std::min<int64_t>(TILE, N - n);
            const E* given = tiles.whole(d_gates + (t * N + n) * GATES * H, some, GATES * H);
            tiles.multiply<V>(sums, given, panel, GATES * H);
            for (int64_t r = 0; r < some; r++)
                for (int v = 0; v < V; v++)
                    store(dh + (n + r) * H + first + v * VL,
                          start[t * N + n + r] ? all(0.0f) : load(sums + (r * V + v) * VL));
        }
    }

    template <int V>
    void columns(int64_t t, int64_t first, const E* panel, const Tiles& tiles) const {
        if constexpr (sizeof(E) == sizeof(bf16))
            if (tiles.had) return tiled<V>(t, first, panel, tiles);
        int64_t n = 0;
        for (; n + ROWS <= N; n += ROWS) rows<ROWS, V>(t, n, first, panel);
        for (; n < N; n++) rows<1, V>(t, n, first, panel);
    }

    void run() const {
        memset(d_bias, 0, sizeof(float) * GATES * H);
        memset(dh, 0, sizeof(float) * N * H);
        memset(dc, 0, sizeof(float) * N * H);
        const Tiles tiles(sizeof(E) == sizeof(bf16), GATES * H);
        std::vector<float> of_step(GATES * H);  // added row by row, long sums would lose what each adds
        for (int64_t t = T - 1; t >= 0; t--) {
            std::fill(of_step.begin(), of_step.end(), 0.0f);
            for (int64_t n = 0; n < N; n++)
                for (int64_t u = 0; u < H; u += VL) gate_slopes(t, n, u, of_step.data());
            for (int64_t u = 0; u < GATES * H; u += VL) store(d_bias + u, load(d_bias + u) + load(&of_step[u]));
            const E* panel = back;
            for (int64_t first = 0; first < H;) {
                const bool wide = H - first >= GATES * VL;
                wide ? columns<GATES>(t, first, panel, tiles) : columns<1>(t, first, panel, tiles);
                const int lanes = wide ? GATES * VL : VL;
                first += lanes;
                panel += GATES * H * lanes;
            }
        }
    }
};

extern "C" {

int units() { return VL; }  // H must be a multiple of it

int multiplies_bf16() {
#if defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}

void pack_weights(int half, const float* w_ih, const float* w_hh, void* ahead, void* back, int64_t F, int64_t H) {
    half ? pack(w_ih, w_hh, (bf16*)ahead, (bf16*)back, F, H) : pack(w_ih, w_hh, (float*)ahead, (float*)back, F, H);
}

void forward(int half, const float* x, const uint8_t* start, const float* h0, const float* c0, const float* bias,
             const void* ahead, float* outputs, float* cells, float* gates, void* read, int64_t T, int64_t N,
             int64_t F, int64_t H, int64_t keep) {
    if (half)
        Forward<bf16>{x, start, h0, c0, bias, (const bf16*)ahead, outputs, cells, gates, (bf16*)read, T, N, F, H,
                      keep}.run();
    else
        Forward<float>{x, start, h0, c0, bias, (const float*)ahead, outputs, cells, gates, (float*)read, T, N, F, H,
                       keep}.run();
}

void backward(int half, const float* d_outputs, const float* d_cells, const float* gates, const float* cells,
              const float* c0, const uint8_t* start, const void* back, void* d_gates, float* d_bias, float* dh,
              float* dc, int64_t T, int64_t N, int64_t H) {
    if (half)
        Backward<bf16>{d_outputs, d_cells, gates, cells, c0, start, (const bf16*)back, (bf16*)d_gates, d_bias, dh, dc,
                       T, N, H}.run();
    else
        Backward<float>{d_outputs, d_cells, gates, cells, c0, start, (const float*)back, (float*)d_gates, d_bias, dh,
                        dc, T, N, H}.run();
}
}
