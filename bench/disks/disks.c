// Block I/O as a program in a guest sees it: sequential reads and writes of 1 MiB, random reads and writes of 4 KiB, all
// O_DIRECT with one request at a time, and writes of 4 KiB that are each on the disk (fdatasync). Two seconds for each.
// Usage: disks DEVICE; prints "disks NAME RATE CPU", rates in MB/s or operations per second, CPU the guest's own share.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 2.0
#define RANGE (128ull << 20)

static char buffer[1 << 20] __attribute__((aligned(4096)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static double busy(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static uint32_t next(void) {
  static uint32_t x = 2463534242u;
  x ^= x << 13;
  x ^= x >> 17;
  return x ^= x << 5;
}

static void measure(const char *name, const char *path, int flags, size_t bytes, int random, int sync) {
  int fd = open(path, flags | O_DIRECT);
  if (fd < 0) {
    perror(path);
    exit(1);
  }
  uint64_t at = 0, count = 0;
  double start = now(), used = busy(), end;
  do {
    uint64_t offset = random ? (uint64_t)(next() % (RANGE / bytes)) * bytes : at;
    ssize_t done = (flags & O_WRONLY) ? pwrite(fd, buffer, bytes, offset) : pread(fd, buffer, bytes, offset);
    if (done != (ssize_t)bytes || (sync && fdatasync(fd) != 0)) {
      perror(name);
      exit(1);
    }
    at = (at + bytes) % RANGE;
    count++;
    end = now();
  } while (end - start < SECONDS);
  double seconds = end - start;
  printf("disks %s %.1f %.2f\n", name, random ? count / seconds : count * bytes / seconds / 1e6, (busy() - used) / seconds);
  fflush(stdout);
  close(fd);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  memset(buffer, 7, sizeof buffer);
  measure("write", argv[1], O_WRONLY, sizeof buffer, 0, 0);
  measure("read", argv[1], O_RDONLY, sizeof buffer, 0, 0);
  measure("random-read", argv[1], O_RDONLY, 4096, 1, 0);
  measure("random-write", argv[1], O_WRONLY, 4096, 1, 0);
  measure("flushed-write", argv[1], O_WRONLY, 4096, 1, 1);
  printf("disks done\n");
  return 0;
}
