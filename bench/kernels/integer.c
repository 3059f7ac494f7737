/* Integer kernels: each stresses one thing that an emulator of a CPU must do well. */
#include "kernels.h"

static uint32_t random_state;
static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static uint8_t bytes[65536];
static uint64_t words[2][8192];

static void fill_bytes(void)
{
    random_state = 1;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = next_random();
}

/* Loads from a table, shifts, exclusive or. */
uint64_t crc32(uint64_t rounds)
{
    static uint32_t table[256];
    uint32_t crc = ~0u;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        table[i] = c;
    }
    fill_bytes();
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < sizeof bytes; i++)
            crc = table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return ~crc;
}

/* Load pair, store pair. */
uint64_t copy(uint64_t rounds)
{
    for (size_t i = 0; i < 8192; i++)
        words[0][i] = i * 0x9e3779b97f4a7c15u;
    for (uint64_t r = 0; r < rounds; r++) {
        const uint64_t *from = words[r & 1];
        uint64_t *to = words[~r & 1];
        for (size_t i = 0; i < 8192; i += 4) {
            uint64_t a = from[i], b = from[i + 1], c = from[i + 2], d = from[i + 3];
            to[i] = b, to[i + 1] = a, to[i + 2] = d, to[i + 3] = c;
        }
    }
    return words[rounds & 1][17] ^ words[rounds & 1][8000];
}

/* Dependent loads within a few pages. */
uint64_t list_walk(uint64_t rounds)
{
    static struct node { struct node *next; uint64_t value; } nodes[1024];
    uint64_t sum = 0;
    for (size_t i = 0; i < 1024; i++)
        nodes[i] = (struct node){ &nodes[(i * 397 + 1) & 1023], i };
    for (uint64_t r = 0; r < rounds; r++) {
        const struct node *node = nodes;
        do {
            sum += node->value ^ r;
            node = node->next;
        } while (node != nodes);
    }
    return sum;
}

/* Multiply and add, with strides. */
uint64_t matmul(uint64_t rounds)
{
    enum { N = 64 };
    static uint64_t a[N][N], b[N][N], c[N][N];
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            a[i][j] = i * 3 + j, b[i][j] = i ^ j;
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++) {
                uint64_t sum = r;
                for (size_t k = 0; k < N; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
    return c[5][7] + c[63][62];
}

/* An interpreter's switch: indirect branches that are hard to foresee. */
uint64_t bytecode(uint64_t rounds)
{
    static uint8_t program[1024];
    uint64_t a = 1, b = 2, c = 3;
    random_state = 7;
    for (size_t i = 0; i < sizeof program; i++)
        program[i] = next_random() % 12;
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t pc = 0; pc < sizeof program; pc++)
            switch (program[pc]) {
            case 0: a += b; break;
            case 1: b ^= c; break;
            case 2: c -= a; break;
            case 3: a = a << 7 | a >> 57; break;
            case 4: b += 12345; break;
            case 5: c *= 5; break;
            case 6: a ^= a >> 3; break;
            case 7: if (b & 1) c++; break;
            case 8: b -= c; break;
            case 9: a |= 1; break;
            case 10: c ^= b << 2; break;
            case 11: if (a > b) a -= b; break;
            }
    return a ^ b ^ c;
}

/* Bytes and multiplications. */
uint64_t string_hash(uint64_t rounds)
{
    uint64_t sum = 0;
    fill_bytes();
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t start = 0; start < sizeof bytes; start += 64) {
            uint64_t hash = 0xcbf29ce484222325u + r;
            for (size_t i = 0; i < 64; i++)
                hash = (hash ^ bytes[start + i]) * 0x100000001b3u;
            sum += hash;
        }
    return sum;
}

/* Calls and returns, stack frames. */
static __attribute__((noinline, optimize("no-optimize-sibling-calls"))) uint64_t fib(uint64_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
uint64_t fibonacci(uint64_t rounds)
{
    uint64_t sum = 0;
    for (uint64_t r = 0; r < rounds; r++)
        sum += fib(20 + (r & 1));
    return sum;
}

/* Calls through pointers. */
static __attribute__((noinline)) uint64_t add_one(uint64_t x) { return x + 1; }
static __attribute__((noinline)) uint64_t twice(uint64_t x) { return x * 2; }
static __attribute__((noinline)) uint64_t flip(uint64_t x) { return ~x; }
static __attribute__((noinline)) uint64_t mix(uint64_t x) { return x ^ x >> 9; }
uint64_t calls(uint64_t rounds)
{
    static uint64_t (*const functions[])(uint64_t) = { add_one, twice, flip, mix };
    uint64_t x = 1;
    for (uint64_t r = 0; r < rounds * 1024; r++)
        x = functions[(x ^ r) & 3](x);
    return x;
}

/* Compares, swaps, recursion. */
static void sort(uint32_t *low, uint32_t *high)
{
    while (low < high) {
        uint32_t pivot = low[(high - low) / 2], *i = low, *j = high;
        do {
            while (*i < pivot) i++;
            while (*j > pivot) j--;
            if (i <= j) {
                uint32_t t = *i;
                *i++ = *j;
                *j-- = t;
            }
        } while (i <= j);
        sort(low, j);
        low = i;
    }
}
uint64_t quicksort(uint64_t rounds)
{
    static uint32_t numbers[8192];
    uint64_t sum = 0;
    random_state = 3;
    for (uint64_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < 8192; i++)
            numbers[i] = next_random();
        sort(numbers, numbers + 8191);
        sum += numbers[100] ^ numbers[8000];
    }
    return sum;
}

/* Dependent loads over 4 MB: the TLB. */
uint64_t pointer_chase(uint64_t rounds)
{
    static uint32_t next[1 << 20];
    uint32_t at = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 1 << 20; i++)
        next[i] = (i * 1664525u + 1013904223u) & ((1 << 20) - 1);
    for (uint64_t r = 0; r < rounds << 16; r++) {
        at = next[at];
        sum += at;
    }
    return sum;
}
