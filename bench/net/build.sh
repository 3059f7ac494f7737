#!/bin/sh
# Builds the guest's program of the network benchmark; needs gcc-aarch64-linux-gnu.
set -eu
cd "$(dirname "$0")"
aarch64-linux-gnu-gcc -O2 -Wall -static -s -o net net.c
