#!/bin/sh
# Builds the benchmark program with Debian's cross compiler (package gcc-aarch64-linux-gnu). The result is committed.
set -eu
cd "$(dirname "$0")"
CC=${CC:-aarch64-linux-gnu-gcc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-std=gnu11 -O2 -march=armv8-a -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-stack-protector
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-math-errno -ffp-contract=off"
$CC $flags -c start.S -o "$work/start.o"
$CC $flags -c switches.S -o "$work/switches.o"
$CC $flags -Wno-main -mgeneral-regs-only -c main.c -o "$work/main.o"
$CC $flags -mgeneral-regs-only -c integer.c -o "$work/integer.o"
$CC $flags -fno-tree-vectorize -c floating.c -o "$work/floating.o"
$CC -nostdlib -static -no-pie -s -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
    -Wl,-T,kernels.ld "$work"/*.o -o kernels.elf
chmod 644 kernels.elf
# The loop for the debugger's benchmark.
$CC -c endless.S -o "$work/endless.o"
$CC -nostdlib -static -no-pie -s -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
    -Wl,-Ttext=0x40200000 -Wl,-N "$work/endless.o" -o endless.elf
chmod 644 endless.elf
