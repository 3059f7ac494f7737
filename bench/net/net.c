// A network as a program in a guest sees it. Usage: net WHAT ADDRESS PORT SECONDS, where WHAT is
//   send, receive   bytes over one TCP connection, in MB/s
//   request         one byte there and one back over one connection, per second
//   connect         connections that are opened, asked one byte and closed, per second
// or net frames INTERFACE BYTES SECONDS (raw frames out, per second), or net count INTERFACE 0 SECONDS (frames that come in
// after the first one, per second). Prints "net WHAT RATE BUSY", BUSY the share of time in which the guest's CPU was not idle.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[128 << 10];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// Seconds of idle time so far.
static double idle(void) {
  unsigned long long user, nice, system, idle, wait;
  FILE *file = fopen("/proc/stat", "r");
  if (fscanf(file, "cpu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait) != 5) exit(1);
  fclose(file);
  return (idle + wait) / (double)sysconf(_SC_CLK_TCK);
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int open_to(const char *address, const char *port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  inet_pton(AF_INET, address, &to.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
  return fd;
}

static void ask(int fd) {
  char byte = 1;
  if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) fail("ask");
}

static int frames(const char *interface) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = if_nametoindex(interface)};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) != 0) fail("frames");
  memcpy(buffer, "\xff\xff\xff\xff\xff\xff\x52\x54\0\x12\x34\x56\x88\xb5", 14);
  return fd;
}

static uint64_t received(const char *interface) {
  char path[100];
  unsigned long long count;
  snprintf(path, sizeof path, "/sys/class/net/%s/statistics/rx_packets", interface);
  FILE *file = fopen(path, "r");
  if (file == NULL || fscanf(file, "%llu", &count) != 1) fail(path);
  fclose(file);
  return count;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const char *what = argv[1];
  double seconds = atof(argv[4]), done = 0, unit = 1;
  int bulk = !strcmp(what, "send") || !strcmp(what, "receive"), fd = -1;
  uint64_t before = 0;
  if (bulk) unit = 1e6;
  if (bulk || !strcmp(what, "request")) fd = open_to(argv[2], argv[3]);
  else if (!strcmp(what, "frames")) fd = frames(argv[2]);
  else if (!strcmp(what, "count")) {
    for (before = received(argv[2]); received(argv[2]) == before;) usleep(10000);
    before = received(argv[2]);
  }
  if (fd >= 0 && !strcmp(what, "request")) ask(fd);
  struct mmsghdr batch[64] = {0};
  struct iovec piece = {buffer, atoi(argv[3])};
  for (int n = 0; n < 64; n++) batch[n].msg_hdr = (struct msghdr){.msg_iov = &piece, .msg_iovlen = 1};
  double start = now(), rested = idle(), end;
  do {
    ssize_t count = 1;
    if (!strcmp(what, "send")) count = write(fd, buffer, sizeof buffer);
    else if (!strcmp(what, "receive")) count = read(fd, buffer, sizeof buffer);
    else if (!strcmp(what, "request")) ask(fd);
    else if (!strcmp(what, "connect")) {
      int one = open_to(argv[2], argv[3]);
      ask(one);
      close(one);
    } else if (!strcmp(what, "frames")) {
      count = sendmmsg(fd, batch, 64, 0);
      if (count < 0 && errno == ENOBUFS) count = 0;
    } else if (!strcmp(what, "count")) {
      usleep(100000);
      count = 0;
    } else return 2;
    if (count < 0 || (bulk && count == 0)) fail(what);
    done += count;
    end = now();
  } while (end - start < seconds);
  if (!strcmp(what, "count")) done = received(argv[2]) - before;
  double busy = 1 - (idle() - rested) / (end - start);
  printf("net %s %.1f %.2f\n", what, done / unit / (end - start), busy);
  return 0;
}
