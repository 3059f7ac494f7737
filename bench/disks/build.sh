#!/bin/sh
# Builds the guest's program of the disk benchmark; needs gcc-aarch64-linux-gnu.
set -eu
cd "$(dirname "$0")"
aarch64-linux-gnu-gcc -O2 -static -s -o disks disks.c
