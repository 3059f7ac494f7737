#!/bin/sh
# Builds ptrace_probe, a static program without a C library. Needs gcc-aarch64-linux-gnu.
set -e
cd "$(dirname "$0")"
aarch64-linux-gnu-gcc -O2 -Wall -Wextra -nostdlib -static -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
  -Wl,--build-id=none -Wl,-z,max-page-size=4096 -s -o ptrace_probe ptrace_probe.c
