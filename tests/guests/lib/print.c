/* A formatter of a few conversions; see console.h. */
#include "console.h"

#include "arch.h"

struct sink {
    char *buffer; /* NULL: the console */
    size_t size;
    size_t length;
};

static void put(struct sink *sink, char c) {
    if (sink->buffer == NULL)
        console_putc(c);
    else if (sink->length + 1 < sink->size)
        sink->buffer[sink->length++] = c;
}

static void put_padded(struct sink *sink, const char *text, size_t length, size_t width, bool left, char padding) {
    size_t missing = width > length ? width - length : 0;

    for (size_t i = 0; !left && i < missing; i++)
        put(sink, padding);
    for (size_t i = 0; i < length; i++)
        put(sink, text[i]);
    for (size_t i = 0; left && i < missing; i++)
        put(sink, ' ');
}

static void put_number(struct sink *sink, uint64_t value, unsigned base, bool negative, size_t width, bool left,
                       bool zeros) {
    char digits[24];
    size_t start = sizeof(digits);

    do {
        digits[--start] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (negative && zeros) { /* the sign stands before the zeros */
        put(sink, '-');
        width = width > 0 ? width - 1 : 0;
    } else if (negative) {
        digits[--start] = '-';
    }
    put_padded(sink, digits + start, sizeof(digits) - start, width, left, zeros && !left ? '0' : ' ');
}

static void format_into(struct sink *sink, const char *format, va_list arguments) {
    for (; *format != '\0'; format++) {
        bool left = false, zeros = false, is_long = false;
        size_t width = 0;

        if (*format != '%') {
            put(sink, *format);
            continue;
        }
        for (format++; *format == '-' || *format == '0'; format++) {
            left |= *format == '-';
            zeros |= *format == '0';
        }
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (size_t)(*format - '0');
        for (; *format == 'l'; format++)
            is_long = true;

        switch (*format) {
        case 'c': {
            char c = (char)va_arg(arguments, int);
            put_padded(sink, &c, 1, width, left, ' ');
            break;
        }
        case 's': {
            const char *text = va_arg(arguments, const char *);
            size_t length = 0;
            while (text[length] != '\0')
                length++;
            put_padded(sink, text, length, width, left, ' ');
            break;
        }
        case 'd': {
            int64_t value = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int32_t);
            put_number(sink, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0, width, left, zeros);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t value = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
            put_number(sink, value, *format == 'x' ? 16 : 10, false, width, left, zeros);
            break;
        }
        case '\0':
            return;
        default:
            put(sink, *format);
        }
    }
}

void print_arguments(const char *format, va_list arguments) {
    struct sink sink = {NULL, 0, 0};
    format_into(&sink, format, arguments);
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_arguments(format, arguments);
    va_end(arguments);
}

void print_to(char *buffer, size_t size, const char *format, ...) {
    struct sink sink = {buffer, size, 0};
    va_list arguments;

    va_start(arguments, format);
    format_into(&sink, format, arguments);
    va_end(arguments);
    buffer[sink.length] = '\0';
}
