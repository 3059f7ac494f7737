/* Text on the PL011 of the `virt` board, polled, and a small formatter that needs no library. */
#ifndef GUESTS_CONSOLE_H
#define GUESTS_CONSOLE_H

#include <stdarg.h>
#include <stddef.h>

/* Where characters go: a program without a UART of its own (a guest of the demo) gives its own `console_putc`. */
void console_putc(char c);

/* %c %s %d %u %x %% with `l`, a width, `-` and `0`: what printf does with them. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_arguments(const char *format, va_list arguments);

/* The same into a buffer, always terminated; what does not fit is dropped. */
void print_to(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
