// The guest's end of vsock connections, for a Linux whose shell has no such tool. Built without a C library, so that it fits
// into any initial RAM disk.
//
//   vsock_peer connect PORT     CID 2: standard input goes there, what comes goes to standard output; both ends are halves
//   vsock_peer listen PORT      the same for the first one who connects
//   vsock_peer echo PORT        answers everybody with what they say, for as long as it runs
//   vsock_peer many PORT COUNT  COUNT connections at once to an echo on CID 2, each with words of its own
//   vsock_peer storm PORT COUNT connects and closes at once, COUNT times

#include <linux/poll.h>

static long syscall6(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
enum {
  SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_exit = 93, SYS_socket = 198, SYS_bind = 200,
  SYS_listen = 201, SYS_accept = 202, SYS_connect = 203, SYS_shutdown = 210, SYS_clone = 220, SYS_wait4 = 260
};
enum { STREAM = 1, VSOCK = 40, SHUT_WR = 1, SIGCHLD = 17, WNOHANG = 1, MOST = 512, BUFFER = 65536 };

// As <linux/vm_sockets.h> has it, which wants a C library.
struct sockaddr_vm {
  unsigned short family, reserved;
  unsigned port, cid;
  unsigned char flags, zero[3];
};
enum { CID_ANY = -1, CID_HOST = 2 };

static long socket(void) { return syscall6(SYS_socket, VSOCK, STREAM, 0, 0, 0, 0); }
static long read(long fd, void *at, long count) { return syscall6(SYS_read, fd, (long)at, count, 0, 0, 0); }
static long write(long fd, const void *at, long count) { return syscall6(SYS_write, fd, (long)at, count, 0, 0, 0); }
static void close(long fd) { syscall6(SYS_close, fd, 0, 0, 0, 0, 0); }

static void print(const char *text) {
  long n = 0;
  while (text[n]) n++;
  write(1, text, n);
}
static long format(char *into, long value) {
  char digits[20];
  long n = 0, length = 0;
  do digits[n++] = '0' + value % 10;
  while ((value /= 10) > 0);
  while (n > 0) into[length++] = digits[--n];
  into[length] = 0;
  return length;
}
static void print_number(long value) {
  char digits[20];
  format(digits, value);
  print(digits);
}
__attribute__((noreturn)) static void leave(int code) {
  syscall6(SYS_exit, code, 0, 0, 0, 0, 0);
  __builtin_unreachable();
}
static long check(long result, const char *what) {
  if (result >= 0) return result;
  print("vsock_peer: cannot ");
  print(what);
  print(": error ");
  print_number(-result);
  print("\n");
  leave(1);
}

static struct sockaddr_vm address(unsigned cid, unsigned port) {
  struct sockaddr_vm out = {.family = VSOCK, .port = port, .cid = cid};
  return out;
}
static long try_connect(long fd, unsigned port) {
  struct sockaddr_vm host = address(CID_HOST, port);
  return syscall6(SYS_connect, fd, (long)&host, sizeof host, 0, 0, 0);
}
static long listener(unsigned port) {
  struct sockaddr_vm any = address((unsigned)CID_ANY, port);
  long fd = check(socket(), "make a socket");
  check(syscall6(SYS_bind, fd, (long)&any, sizeof any, 0, 0, 0), "bind");
  check(syscall6(SYS_listen, fd, 128, 0, 0, 0, 0), "listen");
  return fd;
}
static long accept(long fd) { return check(syscall6(SYS_accept, fd, 0, 0, 0, 0, 0), "accept"); }
static void shut(long fd) { syscall6(SYS_shutdown, fd, SHUT_WR, 0, 0, 0, 0); }

static char buffer[2][BUFFER];

static void write_all(long fd, const char *at, long count) {
  while (count > 0) {
    long n = check(write(fd, at, count), "write");
    at += n;
    count -= n;
  }
}

// Standard input and output, until both directions have ended. One that is slow does not hold the other up for more than
// what is in a buffer, since whoever reads us reads both.
static void relay(long fd) {
  struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = (int)fd, .events = POLLIN}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    check(syscall6(SYS_ppoll, (long)fds, 2, 0, 0, 8, 0), "poll");
    for (int n = 0; n < 2; n++) {
      if (fds[n].fd < 0 || fds[n].revents == 0) continue;
      long count = check(read(fds[n].fd, buffer[n], BUFFER), "read");
      if (count > 0) write_all(n == 0 ? fd : 1, buffer[n], count);
      else {
        if (n == 0) shut(fd);
        fds[n].fd = -1;
      }
    }
  }
  close(fd);
}

static void echo(unsigned port) {
  long server = listener(port);
  for (;;) {
    long fd = accept(server);
    while (syscall6(SYS_wait4, -1, 0, WNOHANG, 0, 0, 0) > 0) {}
    if (check(syscall6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0), "fork") == 0) {
      for (long count; (count = check(read(fd, buffer[0], BUFFER), "read")) > 0;) write_all(fd, buffer[0], count);
      shut(fd);
      close(fd);
      leave(0);
    }
    close(fd);
  }
}

static long words(char *into, long n) {
  long at = 0;
  for (const char *text = "connection "; *text; text++) into[at++] = *text;
  return at + format(into + at, n);
}

static void many(unsigned port, long count) {
  static long fds[MOST];
  long right = 0;
  if (count > MOST) leave(2);
  for (long n = 0; n < count; n++) check(try_connect(fds[n] = check(socket(), "make a socket"), port), "connect");
  for (long n = 0; n < count; n++) write_all(fds[n], buffer[0], words(buffer[0], n));
  for (long n = 0; n < count; n++) {
    long expected = words(buffer[0], n), got = 0, same = 1;
    while (got < expected) {
      long part = check(read(fds[n], buffer[1] + got, expected - got), "read");
      if (part == 0) break;
      got += part;
    }
    for (long i = 0; i < expected; i++) same &= buffer[0][i] == buffer[1][i];
    right += same && got == expected;
  }
  for (long n = 0; n < count; n++) close(fds[n]);
  print_number(right);
  print(" of ");
  print_number(count);
  print(" were answered\n");
}

static void storm(unsigned port, long count) {
  long made = 0;
  for (long n = 0; n < count; n++) {
    long fd = check(socket(), "make a socket");
    made += try_connect(fd, port) == 0;
    if (n % 2 == 0) write(fd, "x", 1);
    close(fd);
  }
  print_number(made);
  print(" connections\n");
}

static long number(const char *text) {
  long value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + *text - '0';
  return value;
}
static int is(const char *a, const char *b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

__attribute__((noreturn, used)) void peer(long *stack) {
  char **words = (char **)(stack + 1);
  long count = stack[0] > 3 ? number(words[3]) : 1;
  if (stack[0] < 3) leave(2);
  unsigned port = (unsigned)number(words[2]);
  if (is(words[1], "connect")) {
    long fd = check(socket(), "make a socket");
    check(try_connect(fd, port), "connect");
    relay(fd);
  } else if (is(words[1], "listen")) relay(accept(listener(port)));
  else if (is(words[1], "echo")) echo(port);
  else if (is(words[1], "many")) many(port, count);
  else if (is(words[1], "storm")) storm(port, count);
  else leave(2);
  leave(0);
}

__asm__(".global _start\n_start: mov x0, sp\n b peer\n");
