#!/bin/sh
# Builds vsock_peer, a static program without a C library. Needs gcc-aarch64-linux-gnu and linux-libc-dev-arm64-cross.
set -e
cd "$(dirname "$0")"
aarch64-linux-gnu-gcc -O2 -Wall -Wextra -nostdlib -static -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
  -fno-tree-loop-distribute-patterns -Wl,--build-id=none -Wl,-z,max-page-size=4096 -s -o vsock_peer vsock_peer.c
