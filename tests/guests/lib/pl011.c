/* PL011 (DDI 0183), transmit only: the board's UART is usable from reset, so only a full FIFO has to be waited for. */
#include "arch.h"
#include "console.h"

#define PL011_BASE 0x09000000UL
#define PL011_DR (*(volatile uint32_t *)(PL011_BASE + 0x00))
#define PL011_FR (*(volatile uint32_t *)(PL011_BASE + 0x18))
#define PL011_CR (*(volatile uint32_t *)(PL011_BASE + 0x30))
#define PL011_FR_TXFF (1u << 5)
#define PL011_CR_UARTEN (1u << 0)
#define PL011_CR_TXE (1u << 8)

void console_putc(char c) {
    if (c == '\n')
        console_putc('\r');
    if ((PL011_CR & (PL011_CR_UARTEN | PL011_CR_TXE)) != (PL011_CR_UARTEN | PL011_CR_TXE))
        PL011_CR |= PL011_CR_UARTEN | PL011_CR_TXE;
    while (PL011_FR & PL011_FR_TXFF) {
    }
    PL011_DR = (unsigned char)c;
}
