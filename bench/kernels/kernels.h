/* What the parts of the benchmark program share. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* A kernel does `rounds` rounds of its work and returns a checksum, so that engines can be compared and nothing is optimised away. */
typedef uint64_t kernel_function(uint64_t rounds);

kernel_function crc32, copy, list_walk, matmul, bytecode, string_hash, fibonacci, calls, quicksort, pointer_chase;
kernel_function nbody, mandelbrot, spectral_norm;
kernel_function hypercalls, system_calls;
