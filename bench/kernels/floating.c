/* Floating-point kernels, double precision, scalar. */
#include "kernels.h"

static uint64_t bits(double value)
{
    union { double d; uint64_t u; } both = { value };
    return both.u;
}

/* Five bodies under gravity: multiply, add, divide, square root. */
uint64_t nbody(uint64_t rounds)
{
    struct body { double x, y, z, vx, vy, vz, mass; } b[5];
    for (int i = 0; i < 5; i++)
        b[i] = (struct body){ i * 1.5 + 0.25, 3.0 - i, i * 0.5, 0.1 * i, 0.2, -0.1 * i, 1.0 + i };
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z;
                double square = dx * dx + dy * dy + dz * dz + 0.01;
                double magnitude = 0.0001 / (square * __builtin_sqrt(square));
                b[i].vx -= dx * b[j].mass * magnitude;
                b[i].vy -= dy * b[j].mass * magnitude;
                b[i].vz -= dz * b[j].mass * magnitude;
                b[j].vx += dx * b[i].mass * magnitude;
                b[j].vy += dy * b[i].mass * magnitude;
                b[j].vz += dz * b[i].mass * magnitude;
            }
        for (int i = 0; i < 5; i++) {
            b[i].x += 0.0001 * b[i].vx;
            b[i].y += 0.0001 * b[i].vy;
            b[i].z += 0.0001 * b[i].vz;
        }
    }
    return bits(b[0].x + b[1].y + b[4].z);
}

/* Multiply, add, compare. */
uint64_t mandelbrot(uint64_t rounds)
{
    uint64_t inside = 0;
    for (uint64_t r = 0; r < rounds; r++)
        for (int py = 0; py < 64; py++)
            for (int px = 0; px < 64; px++) {
                double cx = px / 32.0 - 1.5, cy = py / 32.0 - 1.0 + (double)r * 1e-6, x = 0, y = 0;
                int n = 0;
                while (n < 50 && x * x + y * y <= 4.0) {
                    double t = x * x - y * y + cx;
                    y = 2 * x * y + cy;
                    x = t;
                    n++;
                }
                inside += n;
            }
    return inside;
}

/* Conversions, divide, multiply, add. */
uint64_t spectral_norm(uint64_t rounds)
{
    enum { N = 64 };
    double u[N], v[N];
    double top = 0, bottom = 0;
    for (uint64_t r = 0; r < rounds; r++) {
        if (r % 16 == 0) // before it grows out of range
            for (int i = 0; i < N; i++)
                u[i] = 1.0;
        for (int i = 0; i < N; i++) {
            v[i] = 0;
            for (int j = 0; j < N; j++)
                v[i] += u[j] / (double)((i + j) * (i + j + 1) / 2 + i + 1);
        }
        for (int i = 0; i < N; i++) {
            u[i] = 0;
            for (int j = 0; j < N; j++)
                u[i] += v[j] / (double)((i + j) * (i + j + 1) / 2 + j + 1);
        }
    }
    for (int i = 0; i < N; i++)
        top += u[i] * v[i], bottom += v[i] * v[i];
    return bits(top / bottom);
}
