// Products of bfloat16 by the processor's tiles (Intel's AMX) of 16 rows, where it has them and the system lets us.

#pragma once

#include <cstring>
#include <vector>

#include "vectors.h"

constexpr int64_t TILE = 16;   // rows of a tile, and floats in each
constexpr int64_t DEPTH = 32;  // numbers of bfloat16 in a row of one

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

// Held by one thread for one call; a row's sums do not depend on its company.
struct Tiles {
    bool had;
    mutable std::vector<bf16> padded;

    Tiles(bool half, int64_t width) : had(half && width >= DEPTH && allowed()) {
        if (!had) return;
        padded.resize(TILE * width);
        alignas(64) uint8_t config[64] = {1};  // palette; then bytes per row at 16, rows at 48
        for (int tile = 0; tile < 8; tile++) config[16 + 2 * tile] = 64, config[48 + tile] = TILE;
        _tile_loadconfig(config);
    }
    ~Tiles() {
        if (had) _tile_release();
    }

    static bool allowed() {  // ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA: asked for once in a process
        static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
        return granted;
    }

    // TILE rows: those that there are, and zeros after them
    const bf16* whole(const bf16* rows, int64_t some, int64_t width) const {
        if (some == TILE) return rows;
        memcpy(padded.data(), rows, sizeof(bf16) * some * width);
        memset((void*)(padded.data() + some * width), 0, sizeof(bf16) * (TILE - some) * width);
        return padded.data();
    }

    // sums [TILE][V][VL] = rows [TILE, K] times a panel [K / 2][V][VL][2]
    template <int V>
    __attribute__((noinline)) void multiply(float* sums, const bf16* rows, const bf16* panel, int64_t K) const {
        const int64_t whole = K / DEPTH * DEPTH, stride = V * 64;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t k = 0; k < whole; k += DEPTH) {
            const bf16* weights = panel + k * V * VL;
            _tile_loadd(4, rows + k, K * sizeof(bf16));
            _tile_loadd(5, weights, stride);
            _tile_dpbf16ps(0, 4, 5);
            if constexpr (V == 4) {
                _tile_loadd(6, weights + 2 * VL, stride);
                _tile_dpbf16ps(1, 4, 6);
                _tile_loadd(7, weights + 4 * VL, stride);
                _tile_dpbf16ps(2, 4, 7);
                _tile_loadd(5, weights + 6 * VL, stride);
                _tile_dpbf16ps(3, 4, 5);
            }
        }
        _tile_stored(0, sums, stride);
        if constexpr (V == 4) {
            _tile_stored(1, sums + VL, stride);
            _tile_stored(2, sums + 2 * VL, stride);
            _tile_stored(3, sums + 3 * VL, stride);
        }
        for (int64_t r = 0; r < TILE && whole < K; r++)
            for (int v = 0; v < V; v++) {
                __m512 sum = _mm512_loadu_ps(sums + (r * V + v) * VL);
                for (int64_t k = whole; k < K; k += 2) {
                    int32_t pair;
                    memcpy(&pair, rows + r * K + k, sizeof pair);
                    __m512bh weight;
                    memcpy(&weight, panel + k * V * VL + 2 * v * VL, sizeof weight);
                    sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(pair), weight);
                }
                _mm512_storeu_ps(sums + (r * V + v) * VL, sum);
            }
    }
};
#else
struct Tiles {
    static constexpr bool had = false;
    Tiles(bool, int64_t) {}
    const bf16* whole(const bf16* rows, int64_t, int64_t) const { return rows; }
    template <int V>
    void multiply(float*, const bf16*, const bf16*, int64_t) const {}
};
#endif
