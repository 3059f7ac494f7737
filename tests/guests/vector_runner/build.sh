#!/bin/sh
# Builds vector_runner (a static Linux program without libc) beside its source. Needs Debian's gcc-aarch64-linux-gnu.
set -eu
cd "$(dirname "$0")"
aarch64-linux-gnu-gcc -O2 -Wall -Wextra -nostdlib -static -no-pie -fno-pie -ffreestanding -fno-stack-protector \
  -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -mgeneral-regs-only -mno-outline-atomics \
  -Wl,-Ttext-segment=0x21000000 -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,-s -Wl,--defsym=case_code=0x20000800 \
  -o vector_runner enter.S vector_runner.c
aarch64-linux-gnu-objcopy --remove-section=.comment vector_runner
