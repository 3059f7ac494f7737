/*
 * Semihosting calls (Arm's "Semihosting for AArch32 and AArch64", HLT #0xF000), one after the other, and what came of each, said
 * through SYS_WRITE0. The second word of the command line chooses what it does: "files" works on files in the host's
 * directory, "input" reads what is typed, "exit N" and "exit-extended N" end with that code.
 */
#include <stddef.h>
#include <stdint.h>
#include "../lib/console.h"

enum {
    SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITEC = 0x03, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06,
    SYS_READC = 0x07, SYS_ISERROR = 0x08, SYS_ISTTY = 0x09, SYS_SEEK = 0x0a, SYS_FLEN = 0x0c, SYS_TMPNAM = 0x0d,
    SYS_REMOVE = 0x0e, SYS_RENAME = 0x0f, SYS_CLOCK = 0x10, SYS_TIME = 0x11, SYS_SYSTEM = 0x12, SYS_ERRNO = 0x13,
    SYS_GET_CMDLINE = 0x15, SYS_HEAPINFO = 0x16, SYS_EXIT = 0x18, SYS_EXIT_EXTENDED = 0x20, SYS_ELAPSED = 0x30,
    SYS_TICKFREQ = 0x31,
};
#define STOPPED_APPLICATION_EXIT 0x20026

static int64_t call(uint64_t number, const volatile void *arguments) {
    register uint64_t x0 __asm__("x0") = number;
    register const volatile void *x1 __asm__("x1") = arguments;
    __asm__ volatile(".globl semihosting_call\nsemihosting_call: hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
    return (int64_t)x0;
}
#define CALL(number, ...) call(number, (const volatile uint64_t[]){__VA_ARGS__})

static char line[256];
static size_t used;
static void flush(void) {
    line[used] = 0;
    call(SYS_WRITE0, line);
    used = 0;
}
void console_putc(char c) {
    line[used++] = c;
    if (c == '\n' || used == sizeof line - 1) flush();
}

static size_t length(const char *s) {
    size_t n = 0;
    while (s[n]) n++;
    return n;
}
static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}
static uint64_t word(const void *p) { return (uint64_t)(uintptr_t)p; }

static int64_t open(const char *name, int mode) { return CALL(SYS_OPEN, word(name), mode, length(name)); }
static int64_t write(int64_t handle, const char *s) { return CALL(SYS_WRITE, handle, word(s), length(s)); }
static int64_t close(int64_t handle) { return CALL(SYS_CLOSE, handle); }
static void said(const char *what, int64_t result) {
    print("%s: %ld", what, (long)result);
    if (result == -1) print(", errno %ld", (long)CALL(SYS_ERRNO, 0));
    print("\n");
}

static void console(void) {
    static const char c = '*';
    call(SYS_WRITEC, &c);
    call(SYS_WRITEC, "\n");
    int64_t out = open(":tt", 4), error = open(":tt", 8);
    print("handles: %d\n", out > 0 && error > 0 && out != error);
    said("write to :tt", write(out, "a line by SYS_WRITE\n"));
    said("write to :tt for errors", write(error, "another one\n"));
    said("close", close(out));
    said("close again", close(out));
    said("close", close(error));
    said("write to what is closed", write(out, "lost"));
    said("iserror 0", CALL(SYS_ISERROR, 0));
    said("iserror 7", CALL(SYS_ISERROR, 7));
    print("iserror -1: %d\n", CALL(SYS_ISERROR, -1) != 0);
}

static void features(void) {
    char bytes[8] = {0};
    int64_t handle = open(":semihosting-features", 0);
    said("length of :semihosting-features", CALL(SYS_FLEN, handle));
    said("read", CALL(SYS_READ, handle, word(bytes), 5));
    print("%s, features %d\n", bytes[0] == 0x53 && bytes[1] == 0x48 && bytes[2] == 0x46 && bytes[3] == 0x42 ? "SHFB" : "?",
          bytes[4]);
    said("read at the end", CALL(SYS_READ, handle, word(bytes), 3));
    said("seek", CALL(SYS_SEEK, handle, 4));
    said("read two of one", CALL(SYS_READ, handle, word(bytes), 2));
    said("write", write(handle, "x"));
    said("istty", CALL(SYS_ISTTY, handle));
    said("close", close(handle));
    said("open for writing", open(":semihosting-features", 4));
}

static void about(void) {
    int64_t clock = call(SYS_CLOCK, 0), time = call(SYS_TIME, 0), frequency = call(SYS_TICKFREQ, 0);
    uint64_t before = 0, after = 0;
    said("elapsed", call(SYS_ELAPSED, &before));
    for (volatile int i = 0; i < 100000; i++) {}
    said("elapsed", call(SYS_ELAPSED, &after));
    print("clock %d, time %d, ticks %d, passed %d\n", clock >= 0 && clock < 100 * 3600, time > 1600000000,
          frequency == 1000000000, after > before && after - before < 60ul * 1000000000);
    uint64_t heap[4] = {1, 1, 1, 1};
    said("heapinfo", CALL(SYS_HEAPINFO, word(heap)));
    extern char __stack_end[];
    print("heap behind the program %d, below the stack %d, in RAM %d\n", heap[0] >= word(__stack_end),
          heap[3] <= heap[2] && heap[0] < heap[1], heap[1] <= 0x48000000 && heap[2] <= 0x48000000);
}

static void files(void) {
    char bytes[32] = {0};
    said("open what is not there", open("missing", 0));
    int64_t file = open("made", 5);
    said("write", write(file, "0123456789"));
    said("length", CALL(SYS_FLEN, file));
    said("istty", CALL(SYS_ISTTY, file));
    said("close", close(file));
    file = open("made", 1);
    said("seek", CALL(SYS_SEEK, file, 6));
    said("read", CALL(SYS_READ, file, word(bytes), 8));
    print("%s\n", bytes);
    said("read at the end", CALL(SYS_READ, file, word(bytes), 8));
    said("write to what is read", write(file, "no"));
    said("close", close(file));
    file = open("made", 3);
    said("write over", write(file, "AB"));
    said("seek", CALL(SYS_SEEK, file, 0));
    said("read", CALL(SYS_READ, file, word(bytes), 10));
    print("%s\n", bytes);
    said("close", close(file));
    said("rename", CALL(SYS_RENAME, word("made"), 4, word("other"), 5));
    said("open the old name", open("made", 0));
    said("remove", CALL(SYS_REMOVE, word("other"), 5));
    said("remove again", CALL(SYS_REMOVE, word("other"), 5));
}

/* QEMU 7.2 does not write at the end. */
static void append(void) {
    char bytes[16] = {0};
    int64_t file = open("made", 9);
    said("append", write(file, "0123"));
    said("seek", CALL(SYS_SEEK, file, 0));
    said("append", write(file, "45"));
    said("close", close(file));
    file = open("made", 11);
    said("append", write(file, "67"));
    said("seek", CALL(SYS_SEEK, file, 0));
    said("read", CALL(SYS_READ, file, word(bytes), 10));
    print("%s\n", bytes);
    said("close", close(file));
    file = open("made", 7);
    said("length of what was emptied", CALL(SYS_FLEN, file));
    said("close", close(file));
}

/* What no host should let a program do: each must fail. */
static void forbidden(void) {
    static const char *const names[] = {"/etc/passwd", "../outside", "inside/../../outside", "link", "linked/file",
                                        "/proc/self/maps", "pipe", "inside"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        print("%s ", names[n]);
        said("read", open(names[n], 0));
        print("%s ", names[n]);
        said("write", open(names[n], 4));
        print("%s ", names[n]);
        said("remove", CALL(SYS_REMOVE, word(names[n]), length(names[n])));
        print("%s ", names[n]);
        said("rename", CALL(SYS_RENAME, word(names[n]), length(names[n]), word("mine"), 4));
        print("%s ", names[n]);
        said("take its place", CALL(SYS_RENAME, word("own"), 3, word(names[n]), length(names[n])));
    }
    said("own", open("own", 0) > 0);
    said("inside/own", open("inside/own", 0) > 0);
    said("system", CALL(SYS_SYSTEM, word("touch system-was-here"), 21));
}

/* Addresses that are no memory, lengths that make no sense. */
static void wrong(void) {
    static const uint64_t nowhere = 0xffff0000;
    said("open", CALL(SYS_OPEN, nowhere, 0, 4));
    said("arguments", call(SYS_OPEN, (void *)nowhere));
    said("long name", CALL(SYS_OPEN, 0x40000000, 0, 1ul << 40));
    said("mode", CALL(SYS_OPEN, word("own"), 12, 3));
    int64_t out = open(":tt", 4);
    said("write", CALL(SYS_WRITE, out, nowhere, 4));
    said("write much", CALL(SYS_WRITE, out, nowhere, -1ul));
    call(SYS_WRITE0, (void *)nowhere);
    call(SYS_WRITEC, (void *)nowhere);
    int64_t handle = open(":semihosting-features", 0);
    said("read", CALL(SYS_READ, handle, nowhere, 4));
    said("handle", CALL(SYS_READ, 1ul << 63, word(line), 4));
    said("heapinfo", CALL(SYS_HEAPINFO, nowhere));
    said("elapsed", call(SYS_ELAPSED, (void *)nowhere));
    said("call", call(0x77, &nowhere));
}

static void readc(void) {
    for (int n = 0; n < 3; n++) print("readc %c\n", (char)call(SYS_READC, 0));
}

/* More than fits anywhere on the way out. */
static void much(void) {
    static char text[300000];
    for (size_t n = 0; n < sizeof text; n++) text[n] = n % 64 == 63 ? '\n' : 'a' + n / 64 % 26;
    int64_t out = open(":tt", 4);
    said("write", CALL(SYS_WRITE, out, word(text), sizeof text));
    text[200000] = 0;
    call(SYS_WRITE0, text);
}

static void input(void) {
    char bytes[16] = {0};
    int64_t in = open(":tt", 0);
    for (int n = 0; n < 2; n++) {
        int64_t left = CALL(SYS_READ, in, word(bytes), 8);
        bytes[8 - left] = 0;
        print("left %d: %s\n", (int)left, bytes);
    }
}

static _Noreturn void leave(uint64_t number, uint64_t reason, uint64_t code) {
    call(number, (const volatile uint64_t[]){reason, code});
    for (;;) {}
}

void main(void) {
    static char words[128];
    uint64_t block[2] = {word(words), sizeof words};
    said("get_cmdline", call(SYS_GET_CMDLINE, block));
    print("%d: %s\n", (int)block[1], words);
    uint64_t tiny[2] = {word(words + 100), 3};
    said("get_cmdline in little room", call(SYS_GET_CMDLINE, tiny));
    char *arguments = words;
    while (*arguments && *arguments != ' ') arguments++;
    while (*arguments == ' ') arguments++;
    uint64_t code = 0;
    char *number = arguments;
    while (*number && *number != ' ') number++;
    if (*number == ' ') *number++ = 0;
    while (*number >= '0' && *number <= '9') code = code * 10 + (*number++ - '0');
    if (same(arguments, "console")) console(), features(), about();
    else if (same(arguments, "files")) files();
    else if (same(arguments, "append")) append();
    else if (same(arguments, "forbidden")) forbidden();
    else if (same(arguments, "wrong")) wrong();
    else if (same(arguments, "input")) input();
    else if (same(arguments, "readc")) readc();
    else if (same(arguments, "much")) much();
    else if (same(arguments, "exit")) leave(SYS_EXIT, STOPPED_APPLICATION_EXIT, code);
    else if (same(arguments, "exit-extended")) leave(SYS_EXIT_EXTENDED, STOPPED_APPLICATION_EXIT, code);
    else if (same(arguments, "abort")) leave(SYS_EXIT, 0x20023, 0);
    leave(SYS_EXIT, STOPPED_APPLICATION_EXIT, 42);
}
