// Black-Scholes: prices and Greeks of M European options in double, and the profit of each in S scenarios in float.
//
// A loop over vectors of contracts; what each line means is written in options/black_scholes.py and env/margin.py. The error
// function comes from erfc(x) = t e^{-x^2 + P(t)}, t = 2 / (2 + x), x >= 0: P are polynomials fitted at Chebyshev nodes, in
// double within 4e-14 (relative, of erfc), in float within 2e-7 (of erf).

#include <cmath>

#include "vectors.h"

constexpr int DL = VL / 2;
typedef double vd __attribute__((vector_size(8 * DL)));
typedef int64_t vl __attribute__((vector_size(8 * DL)));

static inline vd every(double x) { return x - (vd){}; }

template <class V, class S>
static inline V some(const S* p, int64_t n) {  // the first n numbers, ones behind them
    S a[sizeof(V) / sizeof(S)];
    for (int l = 0; l < int(sizeof(V) / sizeof(S)); l++) a[l] = l < n ? p[l] : S(1);
    V v;
    memcpy(&v, a, sizeof v);
    return v;
}
template <class V, class S>
static inline V some_at(const S* p, int64_t at, int64_t count) {
    constexpr int64_t lanes = sizeof(V) / sizeof(S);
    if (count - at < lanes) return some<V>(p + at, count - at);
    V v;
    memcpy(&v, p + at, sizeof v);
    return v;
}
template <class V, class S>
static inline void keep(S* p, V v, int64_t at, int64_t count) {
    const int64_t left = count - at, lanes = sizeof(V) / sizeof(S);
    memcpy(p + at, &v, (left < lanes ? left : lanes) * sizeof(S));
}
static inline vd root(vd x) {
    for (int l = 0; l < DL; l++) x[l] = std::sqrt(x[l]);
    return x;
}
static inline vf root(vf x) {
    for (int l = 0; l < VL; l++) x[l] = std::sqrt(x[l]);
    return x;
}

// e^x by 2^n e^r, |r| <= ln 2 / 2, and Taylor's series to r^12
static inline vd exponential(vd x) {
    x = x > 700.0 ? every(700.0) : x;
    x = x < -700.0 ? every(-700.0) : x;
    const double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer in the low bits
    vd shifted = x * 1.4426950408889634 + magic;
    vd n = shifted - magic;
    vd r = x - n * 0.693147180369123816490;
    r = r - n * 1.90821492927058770002e-10;
    vd p = every(1.0 / 479001600.0);
    const double rest[] = {1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0,
                           1.0 / 120.0,      1.0 / 24.0,      1.0 / 6.0,      0.5,           1.0,          1.0};
    for (double coefficient : rest) p = p * r + coefficient;
    vl bits;
    memcpy(&bits, &shifted, sizeof bits);
    vl scale = (bits << 52) + 0x3ff0000000000000;
    vd s;
    memcpy(&s, &scale, sizeof s);
    return p * s;
}

// N(z), the normal distribution function
static inline vd below(vd z) {
    const double P[] = {1.2042679924870028e-8,   -3.8783217971600348e-8, -5.3225684833307208e-8, 3.5396852622496003e-7,
                        -1.74799045248628e-7,    -1.4567027172966748e-6, 2.5986308310782166e-6,  2.6760216677718943e-6,
                        -1.3598405395902733e-5,  5.783745949281898e-6,   4.6092829248123809e-5,  -7.2042561319393904e-5,
                        -1.0590496983080692e-4,  3.8126100348003259e-4,  9.4870213054945628e-5,  -1.637899849294404e-3,
                        6.8700830480466813e-4,   7.1411946568598595e-3,  -6.1990404645998921e-3, -4.1707557429926007e-2,
                        3.6255280179279489e-2,   6.4317012105750274e-1,  -6.3804948546285254e-1};
    vd x = (z < 0.0 ? -z : z) * 0.70710678118654752;
    x = x > 26.0 ? every(26.0) : x;
    vd t = 2.0 / (2.0 + x);
    vd y = (t - 0.525) * (1.0 / 0.475);  // -1 .. 1 of t from 0.05 to 1
    vd p = every(P[0]);
    for (int k = 1; k < 23; k++) p = p * y + P[k];
    vd half = 0.5 * t * exponential(p - x * x);
    return z < 0.0 ? half : 1.0 - half;
}

// erf(z)
static inline vf error_function(vf z) {
    const float P[] = {2.85883068e-6f,  3.54187631e-5f,  -9.48550608e-5f, -2.60576792e-4f, 1.33206848e-3f,
                       8.6565281e-4f,   -1.73209841e-2f, 1.11994652e-3f,  4.81384641e-1f,  -4.67064162e-1f};
    vf x = z < 0.0f ? -z : z;
    x = x > 4.5f ? all(4.5f) : x;
    vf t = 2.0f / (2.0f + x);
    vf y = (t - 0.65f) * (1.0f / 0.35f);  // -1 .. 1 of t from 0.3 to 1
    vf p = all(P[0]);
    for (int k = 1; k < 10; k++) p = p * y + P[k];
    vf rest = 1.0f - t * exponential(p - x * x);
    return z < 0.0f ? -rest : rest;
}

extern "C" {

// out [6, M]: price, delta, gamma, vega, theta, rho; money is ln(K / F)
void greeks(const double* spot, const double* strike, const double* money, const double* tte, const double* vol,
            const double* rate, const double* yield, const double* right, double* out, int64_t M) {
    for (int64_t m = 0; m < M; m += DL) {
        auto of = [&](const double* p) { return some_at<vd>(p, m, M); };
        vd s = of(spot), k = of(strike), t = of(tte), sigma = of(vol), r = of(rate), q = of(yield), w = of(right);
        t = t < 0.0 ? every(0.0) : t;
        sigma = sigma < 0.0 ? every(0.0) : sigma;
        vd years = root(t), deviation = sigma * years;
        vl alive = deviation != 0.0;  // a NaN is
        vd safe = alive ? deviation : every(1e-300);
        vd centre = -of(money) / safe, half = alive ? 0.5 * deviation : every(0.0);
        vd d1 = centre + half, d2 = centre - half;
        vd share_discount = exponential(-q * t);
        vd share = s * share_discount, cash = k * exponential(-r * t);
        vd cdf1 = below(w * d1), cdf2 = below(w * d2);
        vd bound = d1 > 1e3 ? every(1e3) : d1;
        bound = bound < -1e3 ? every(-1e3) : bound;
        vd density = alive ? 0.3989422804014327 * exponential(-0.5 * bound * bound) : every(0.0);
        vd decay = alive ? share * density * sigma * sigma / (2.0 * safe) : every(0.0);
        vd told[] = {w * (share * cdf1 - cash * cdf2),
                     w * share_discount * cdf1,
                     share_discount * density / (s * (alive ? deviation : every(1.0))),
                     share * density * years,
                     w * (q * share * cdf1 - r * cash * cdf2) - decay,
                     w * t * cash * cdf2};
        for (int g = 0; g < 6; g++) keep(out + g * M, told[g], m, M);
    }
}

// out [1 + 2 points, M]: the crash, then every point under one vol, then under another. move [1 + points] has the crash
// first, log_move their ln(1 + move); factor [3] is what vol is multiplied with
void scenarios(const float* spot, const float* strike, const float* money, const float* tte, const float* vol,
               const float* rate, const float* yield, const float* right, const float* move, const float* log_move,
               const float* factor, float* out, int64_t M, int64_t points) {
    const float root_half = 0.70710678f;
    for (int64_t m = 0; m < M; m += VL) {
        auto of = [&](const float* p) { return some_at<vf>(p, m, M); };
        vf t = of(tte), sigma = of(vol), w = of(right), carry = -of(money);
        t = t < 0.0f ? all(0.0f) : t;
        sigma = sigma < 0.0f ? all(0.0f) : sigma;
        vf deviation = sigma * root(t);
        vf share = 0.5f * of(spot) * exponential(-of(yield) * t), cash = 0.5f * of(strike) * exponential(-of(rate) * t);
        auto value = [&](float logarithm, float moved, float times) {
            vf wide = times * deviation;
            vf width = root_half * (wide < 1e-6f ? all(1e-6f) : wide);  // a NaN stays one
            vf d1 = 0.5f * width + (carry + logarithm) * (0.5f / width);
            vf s = share * moved;
            return s * error_function(d1) - cash * error_function(d1 - width) + w * s;
        };
        const vf base = value(0.0f, 1.0f, 1.0f);
        int64_t place = 0;
        for (int part = 0; part < 3; part++)
            for (int64_t at = part ? 1 : 0; at < (part ? 1 + points : 1); at++, place++)
                keep(out + place * M, value(log_move[at], 1.0f + move[at], factor[part]) - base, m, M);
    }
}
}
